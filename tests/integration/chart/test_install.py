"""The chart on a real API server: rights, admission, what an upgrade keeps, how the definitions follow."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from paddock_api.kinds import KINDS
from tests.cluster import binaries
from tests.integration.chart.account import environment_of, folder_of, rights, user
from tests.integration.chart.conftest import ELSEWHERE, Installed
from tests.integration.crds.client import Answer
from tests.unit.chart.objects import pods
from tests.unit.chart.render import CHART, NAMESPACE, RELEASE, run, template, value_sets

GOLDEN = Path(__file__).with_name("can-i.txt")
OPERATOR, GATEWAY, RUNTIME, CRDS = (f"paddock-{part}" for part in ("operator", "gateway", "runtime", "crds"))
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"


def secret(installed: Installed, name: str) -> dict[str, str]:
    answer = installed.api.raw("GET", f"{SECRETS}/{name}")
    assert answer.status == 200, answer
    return {key: base64.b64decode(value).decode() for key, value in answer.body["data"].items()}


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def hook_parts() -> list[str]:
    """What Helm makes for the definitions: account, rights, content, and the Job, for which there is no node here."""
    return template(None, "--show-only", "templates/crds-upgrade.yaml").split("\n---\n")


def test_rights_are_these_and_no_others(installed: Installed) -> None:
    """UPDATE_GOLDENS=1 writes the table anew: read the difference before it is committed."""
    hooks = [part for part in hook_parts() if "kind: Job" not in part]
    installed.server.kubectl("apply", "-f", "-", input="\n---\n".join(hooks))
    lines: list[str] = []
    for account in (OPERATOR, GATEWAY, RUNTIME, CRDS):
        lines += rights(installed.api, user(NAMESPACE, account), (NAMESPACE, ELSEWHERE))
    installed.server.kubectl("delete", "-f", "-", input="\n---\n".join(hooks))
    text = "\n".join(lines) + "\n"
    if os.environ.get("UPDATE_GOLDENS"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_golden_table_says_what_was_promised() -> None:
    lines = GOLDEN.read_text().splitlines()
    assert not any(line.startswith(RUNTIME) for line in lines), "runtime pods have no right at all"
    gateway = [line for line in lines if line.startswith(GATEWAY)]
    assert {verb for line in gateway for verb in line.rpartition(": ")[2].split()} == {"list", "watch"}
    assert {line.split(": ")[1].split(".")[0] for line in gateway} == {"models", "runtimepools", "endpointslices"}
    assert not any("secrets" in line and verb in line.rpartition(": ")[2].split()
                   for line in lines for verb in ("get", "list", "watch", "delete", "update"))


def test_a_named_hub_token_may_be_read_and_no_other(installed: Installed, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({
        "pool": {"spec": {"credentials": [{"name": "hub", "secretName": "hub-token"}]}},
        "operator": {"readableSecrets": [{"namespace": ELSEWHERE, "names": ["their-token"]}]}}))
    installed.upgrade("--values", str(values))
    try:
        lines = [line for line in rights(installed.api, user(NAMESPACE, OPERATOR), (NAMESPACE, ELSEWHERE))
                 if ": secrets" in line and "get" in line]
        assert lines == [f"{OPERATOR} in {NAMESPACE}: secrets hub-token: get create patch"]
    finally:
        installed.upgrade()


@pytest.mark.parametrize("values", value_sets(), ids=lambda path: path.stem)
def test_pod_security_restricted_admits_every_pod(installed: Installed, values: Path) -> None:
    found = [document for document in yaml.safe_load_all(template(values)) if document]
    tried = 0
    for owner, pod in pods(found):
        left_out = ("serviceAccountName", "priorityClassName")  # of these there may be none here
        spec = {key: value for key, value in pod["spec"].items() if key not in left_out}
        answer = _try_pod(installed, {**spec, "restartPolicy": spec.get("restartPolicy", "Always")})
        assert answer.status == 201, f"{owner}: {answer.message}"
        tried += 1
    assert tried >= 3


def _try_pod(installed: Installed, spec: dict[str, Any]) -> Answer:
    return installed.api.raw("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All&fieldValidation=Strict", {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec})


def test_pod_security_is_really_enforced(installed: Installed) -> None:
    refused = _try_pod(installed, {"containers": [{"name": "c", "image": "i"}]})
    assert refused.status == 403
    assert "violates PodSecurity" in refused.message


def test_the_operator_changes_no_secret_but_its_own(installed: Installed) -> None:
    kubectl, secrets = installed.server.kubectl, f"/api/v1/namespaces/{ELSEWHERE}/secrets"
    own = {"app.kubernetes.io/managed-by": "paddock-operator"}
    kubectl("create", "secret", "generic", "foreign", "-n", ELSEWHERE, "--from-literal=key=canary-value")

    def patch(name: str, body: dict[str, Any], kind: str = "merge-patch+json") -> Answer:
        manager = "?fieldManager=paddock-operator&force=true" if kind.startswith("apply") else ""
        return installed.api.raw("PATCH", f"{secrets}/{name}{manager}", body, content_type=f"application/{kind}",
                                 user=user(NAMESPACE, OPERATOR))

    taken = {"metadata": {"labels": own}}
    eventually(lambda: "changes no Secret that it did not make" in patch("foreign", taken).message,
               "the policy never came into force")
    bodies: tuple[dict[str, Any], ...] = ({}, taken, {"data": {"key": "eA=="}})
    for body in bodies:
        answer = patch("foreign", body)
        assert answer.status == 422
        assert base64.b64encode(b"canary-value").decode() not in json.dumps(answer.body), "a patch is no way to read"

    def apply(labels: dict[str, str]) -> Answer:
        return patch("pool-token", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pool-token",
                     "labels": labels}, "data": {"token": "dA=="}}, "apply-patch+yaml")

    assert "writes no Secret that does not say to be managed by it" in apply({}).message
    assert apply(own).status == 201
    assert apply({**own, "more": "x"}).status == 200, "its own it may change"
    assert "patched" in kubectl("patch", "secret", "foreign", "-n", ELSEWHERE, "--type=merge", "-p",
                                '{"data": {"a": "eA=="}}'), "nobody else is bound"
    kubectl("delete", "secret", "foreign", "pool-token", "-n", ELSEWHERE)


def test_secrets_are_made_once_and_kept(installed: Installed) -> None:
    root, key = secret(installed, "paddock-root-token"), secret(installed, "paddock-api-key")
    records = secret(installed, "paddock-api-keys")
    assert len(root["token"]) == 64
    assert key["key"].startswith("pdk-")
    assert json.loads(records["generated"]) == {
        "sha256": hashlib.sha256(key["key"].encode()).hexdigest(), "namespaces": ["*"]}
    installed.upgrade("--set", "gateway.replicas=3")
    assert secret(installed, "paddock-root-token") == root
    assert secret(installed, "paddock-api-key") == key
    assert secret(installed, "paddock-api-keys") == records
    installed.upgrade()


def test_a_pool_that_the_api_server_refuses_is_told_by_its_field(installed: Installed) -> None:
    answer = installed.upgrade("--set", "pool.spec.memory=0", check=False)
    assert "spec.memory" in answer
    assert "give more than 0" in answer
    installed.upgrade()


def test_notes_show_commands_that_work(installed: Installed) -> None:
    notes = run("get", "notes", RELEASE, "--namespace", NAMESPACE, "--kubeconfig", str(installed.server.kubeconfig))
    manifest = notes.split("<<'YAML'\n")[1].split("\n  YAML")[0]
    installed.server.kubectl("apply", "--dry-run=server", "-f", "-", input=manifest)
    command = next(line.strip() for line in notes.splitlines() if "get secret" in line)
    program = f"{binaries.path('kubectl')} --kubeconfig={installed.server.kubeconfig}"
    shell = command.replace("kubectl ", f"{program} ") + '; printf %s "$KEY"'
    shown = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert shown == secret(installed, "paddock-api-key")["key"]


def test_definitions_are_brought_to_the_chart_s_version(installed: Installed, tmp_path: Path) -> None:
    """The upgrade job's own script with its own account, against definitions of another release."""
    kubectl = installed.server.kubectl
    parts = hook_parts()
    documents = [yaml.safe_load(part) for part in parts]
    config = next(document for document in documents if document["kind"] == "ConfigMap")
    folder = tmp_path / "crds"
    folder.mkdir()
    for name, content in config["data"].items():
        (folder / name).write_text(content)
    kubectl("apply", "-f", "-", input="\n---\n".join(
        part for part, document in zip(parts, documents, strict=True) if document["kind"] not in ("Job", "ConfigMap")))
    mounted = folder_of(installed.server, NAMESPACE, CRDS, tmp_path / "account")

    def bring() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(folder / "apply_crds.py"), str(folder)], capture_output=True,
                              text=True, check=False, timeout=120, env=environment_of(installed.server, mounted))

    schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties"
    kubectl("patch", "crd", "models.paddock.dev", "--type=json", "-p", json.dumps([
        {"op": "remove", "path": f"{schema}/aliases"},
        {"op": "add", "path": f"{schema}/dropped", "value": {"type": "string"}},
        {"op": "add", "path": "/metadata/labels", "value": {"theirs": "kept"}}]))
    kubectl("delete", "crd", "modelhubs.paddock.dev")
    done = bring()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "modelhubs.paddock.dev made", "models.paddock.dev brought up to date",
        "runtimepools.paddock.dev brought up to date"]
    for kind in KINDS:
        found = json.loads(kubectl("get", "crd", f"{kind.plural}.paddock.dev", "-o", "json"))
        wanted = yaml.safe_load((CHART / "crds" / f"{kind.plural}.paddock.dev.yaml").read_text())
        assert found["spec"]["versions"] == wanted["spec"]["versions"]
        assert found["spec"]["names"] == wanted["spec"]["names"]
    labels = json.loads(kubectl("get", "crd", "models.paddock.dev", "-o", "json"))["metadata"]["labels"]
    assert labels == {"theirs": "kept"}
    assert "made" not in bring().stdout, "a second time changes nothing"
    (folder / "secrets.example.json").write_text('{"spec": {}}')
    refused = bring()
    assert refused.returncode == 1
    assert "secrets.example can't be brought up to date" in refused.stderr
    assert "forbidden" in refused.stderr
    kubectl("delete", "--ignore-not-found", "-f", "-", input="\n---\n".join(
        part for part, document in zip(parts, documents, strict=True) if document["kind"] != "Job"))
