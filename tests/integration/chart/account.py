"""What a pod has of its service account: a token, the API server's certificate, and the rights that RBAC gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.cluster.apiserver import ApiServer
from tests.integration.crds.client import Api

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
# (group, resource, name): every kind that matters to anybody, named objects where rights hang on names.
ASKED = [
    *(("paddock.dev", f"{plural}{part}", "") for plural in ("models", "runtimepools", "modelhubs")
      for part in ("", "/status", "/finalizers", "/scale")),
    *(("", plural, "") for plural in (
        "configmaps", "secrets", "services", "services/proxy", "pods", "pods/exec", "pods/log", "pods/portforward",
        "pods/ephemeralcontainers", "pods/eviction", "events", "namespaces", "nodes", "nodes/proxy",
        "persistentvolumeclaims", "persistentvolumes", "serviceaccounts", "serviceaccounts/token", "endpoints")),
    *(("apps", plural, "") for plural in ("statefulsets", "statefulsets/scale", "deployments", "daemonsets")),
    ("batch", "jobs", ""), ("policy", "poddisruptionbudgets", ""), ("discovery.k8s.io", "endpointslices", ""),
    ("networking.k8s.io", "networkpolicies", ""), ("coordination.k8s.io", "leases", ""),
    ("coordination.k8s.io", "leases", "paddock-operator"), ("", "secrets", "hub-token"),
    ("", "secrets", "paddock-root-token"),
    *(("rbac.authorization.k8s.io", plural, "") for plural in (
        "roles", "rolebindings", "clusterroles", "clusterrolebindings")),
    ("apiextensions.k8s.io", "customresourcedefinitions", ""),
    ("apiextensions.k8s.io", "customresourcedefinitions", "models.paddock.dev"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", ""),
]


def user(namespace: str, account: str) -> str:
    return f"system:serviceaccount:{namespace}:{account}"


def rights(api: Api, who: str, namespaces: tuple[str, ...]) -> Iterator[str]:
    """A line for each kind and namespace where `who` may do something, as the API server itself decides."""
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{who.split(':')[2]}", "system:authenticated"]
    for group, resource, name in ASKED:
        for namespace in namespaces:
            may = [verb for verb in VERBS if _may(api, who, groups, verb, group, resource, name, namespace)]
            if may:
                shown = f"{resource}{'.' + group if group else ''}{' ' + name if name else ''}"
                yield f"{who.split(':')[3]} in {namespace}: {shown}: {' '.join(may)}"


def _may(api: Api, who: str, groups: list[str], verb: str, group: str, resource: str, name: str,
         namespace: str) -> bool:
    plural, _, subresource = resource.partition("/")
    answer = api.raw("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": who, "groups": groups, "resourceAttributes": {
            "verb": verb, "group": group, "version": "*", "resource": plural, "subresource": subresource,
            "name": name, "namespace": namespace}}})
    assert answer.status == 201, answer
    return bool(answer.body["status"]["allowed"])


def folder_of(server: ApiServer, namespace: str, account: str, folder: Path) -> Path:
    """Such as a pod has it mounted: token and ca.crt."""
    folder.mkdir(parents=True)
    config = json.loads(server.kubeconfig.read_text())["clusters"][0]["cluster"]
    (folder / "ca.crt").write_bytes(Path(config["certificate-authority"]).read_bytes())
    (folder / "token").write_text(server.kubectl("create", "token", account, "-n", namespace).strip())
    return folder


def kubeconfig_of(server: ApiServer, namespace: str, account: str, folder: Path) -> Path:
    mounted = folder_of(server, namespace, account, folder)
    path = folder / "kubeconfig"
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "own",
        "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
        "clusters": [{"name": "own", "cluster": {
            "server": server.url, "certificate-authority": str(mounted / "ca.crt")}}],
        "users": [{"name": "own", "user": {"token": (mounted / "token").read_text()}}]}))
    return path


def environment_of(server: ApiServer, mounted: Path) -> dict[str, str]:
    """Of a pod: by these it finds the API server."""
    address = urlsplit(server.url)
    return {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port),
            "PADDOCK_ACCOUNT": str(mounted)}
