"""Pods and Services of the tests themselves, as the strictest pod security level admits them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.e2e.kubectl import Kubectl

USER = 65532
_OURS = "paddock.dev/e2e"
SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def namespace(name: str) -> dict[str, Any]:
    """One that admits nothing but restricted pods."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", _OURS: "true"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@contextmanager
def fresh_namespace(kubectl: Kubectl, name: str) -> Iterator[Kubectl]:
    """One that nobody else has: of that name there must be none, but for what a broken run of the tests left."""
    label = f"--selector={_OURS}=true,kubernetes.io/metadata.name={name}"
    kubectl("delete", "namespace", label, "--wait=true", "--timeout=100s")
    kubectl("create", "-f", "-", input=json.dumps(namespace(name)))
    yield kubectl.within(name)
    kubectl("delete", "namespace", name, "--wait=false")


def python(
    name: str, image: str, arguments: Sequence[str], *, ready: str = "", ports: Sequence[int] = ()
) -> dict[str, Any]:
    """A pod of the tools image. `ready`: the path that answers on the first port when it is ready."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(arguments),
        "ports": [{"containerPort": port} for port in ports],
        "securityContext": SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
    }
    if ready:
        container["readinessProbe"] = {"httpGet": {"path": ready, "port": ports[0]}, "periodSeconds": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def service(name: str, ports: Sequence[int]) -> dict[str, Any]:
    """For the pod of that name."""
    named = [{"name": f"port-{port}", "port": port} for port in ports]
    spec = {"selector": {"app": name}, "ports": named}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
