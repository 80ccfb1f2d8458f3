"""The release itself: Helm's own test, an upgrade under traffic, the end. The last tests of a run (see conftest)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from openai import APIStatusError, OpenAI

from tests.e2e.ground import Ground
from tests.e2e.kubectl import Kubectl
from tests.e2e.probe import probing
from tests.e2e.recipes import TOOLS
from tests.e2e.release import NAME, Release
from tests.e2e.team import Team, model
from tests.e2e.waiting import eventually

HOLD = 2
# What Kubernetes itself puts into every namespace.
ITS_OWN = {"configmap/kube-root-ca.crt", "serviceaccount/default"}


def test_helm_test_asks_the_gateways(release: Release) -> None:
    assert f"{NAME}-test" in release.helm("test", NAME, "--timeout=2m")


def test_an_upgrade_fails_no_request(release: Release, team: Team, tools: Kubectl, cluster: Ground) -> None:
    """Operators, gateways and runtime pods are all replaced; the key stays."""
    team.declare(model("tiny", 0))
    assert release.complete(team.id("tiny")).status == 200
    key, parts = release.key(), ("operator", "gateway", "runtime")
    before = {part: _identities(release, part) for part in parts}
    requests = [release.completion(team.id("tiny"), every=0.2),
                release.completion(team.id("tiny"), every=0.2, tokens=64, stream=True)]
    with probing(tools, cluster.images[TOOLS], requests):
        release.upgrade(f"gateway.holdSeconds={HOLD}", "operator.logLevel=debug", "pool.spec.podLabels.upgraded=yes")
        for part in parts:
            _all_are_new(release, part, before[part])
    assert release.key() == key


def _identities(release: Release, part: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in release.pods(part)}


def _all_are_new(release: Release, part: str, before: set[str]) -> None:
    """Waits until there are as many pods as before, all others and ready."""
    def ready() -> set[str]:
        return {pod["metadata"]["uid"] for pod in release.pods(part)
                for condition in pod["status"].get("conditions", ())
                if (condition["type"], condition["status"]) == ("Ready", "True")}

    eventually(lambda: len(ready()) == len(before) and not ready() & before, lambda: f"{part}: {ready()}, not {before}")


def test_a_hold_that_is_too_short_as_the_openai_client_sees_it(release: Release, team: Team) -> None:
    """The download begins late, so no load can be in time; the client is told when to come again."""
    if json.loads(release.helm("get", "values", NAME, "--output=json"))["gateway"].get("holdSeconds") != HOLD:
        release.upgrade(f"gateway.holdSeconds={HOLD}")  # the upgrade above was not part of this run
    team.declare(model("tiny", 5))
    sha256 = team.status("tiny")["facts"]["sha256"]
    late = {"pattern": f"/repos/{sha256}*", "times": None, "delay": 5.0 * HOLD}
    release.client.ask(f"{release.hub}/_double/fail", late)
    try:
        with _forwarded(release) as url:
            client = OpenAI(base_url=f"{url}/v1", api_key=release.key(), max_retries=0, timeout=60)
            with pytest.raises(APIStatusError) as caught:
                client.completions.create(model=team.id("tiny"), prompt="Once upon a time", max_tokens=4)
            assert (caught.value.status_code, caught.value.code) == (503, "hold_expired")
            assert int(caught.value.response.headers["retry-after"]) >= 1
            patient = client.with_options(max_retries=5)  # it waits as Retry-After says
            answer = patient.completions.create(model=team.id("tiny"), prompt="Once upon a time", max_tokens=4)
            assert answer.model == team.id("tiny")
    finally:
        release.client.ask(f"{release.hub}/_double/heal", {})


@contextmanager
def _forwarded(release: Release) -> Iterator[str]:
    """The gateways' Service at an address of this machine."""
    command = release.kubectl.command("port-forward", f"service/{NAME}-gateway", ":80")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
            assert found is not None, process.communicate()
            yield f"http://{found[0]}"
        finally:
            process.kill()


def test_an_uninstall_leaves_nothing_behind(release: Release, team: Team) -> None:
    """What people declared stays, and goes when they delete it; the definitions go by hand."""
    team.declare(model("tiny", 0))
    assert [each for each in _everything(release.kubectl) if each.startswith("statefulset")]
    release.helm("uninstall", NAME, "--wait", "--timeout=3m")
    eventually(lambda: not _everything(release.kubectl), lambda: _everything(release.kubectl))
    kinds = [f"{kind}.paddock.dev" for kind in ("models", "runtimepools", "modelhubs")]
    # The API server itself has an entry for their group.
    assert _of_the_cluster(release.kubectl) == {
        "apiservice/v1alpha1.paddock.dev", *(f"customresourcedefinition/{kind}" for kind in kinds)}
    kept = _everything(team.kubectl)
    assert "model/tiny" in kept
    assert all(each == "model/tiny" or each.startswith("configmap/tiny-") for each in kept), kept
    team.kubectl("delete", "model", "tiny")
    eventually(lambda: not _everything(team.kubectl), lambda: _everything(team.kubectl))
    release.kubectl("delete", "crd", *kinds)
    eventually(lambda: not _of_the_cluster(release.kubectl), lambda: _of_the_cluster(release.kubectl))


def _everything(kubectl: Kubectl) -> set[str]:
    """All objects of a namespace, of whatever kind, but events and what Kubernetes puts there."""
    return {each for each in _listed(kubectl, "--namespaced=true") if not each.startswith("event")} - ITS_OWN


def _of_the_cluster(kubectl: Kubectl) -> set[str]:
    """Objects outside of namespaces that are Paddock's by name."""
    return {each for each in _listed(kubectl, "--namespaced=false")
            if "paddock" in each and not each.startswith("namespace/")}


def _listed(kubectl: Kubectl, which: str) -> set[str]:
    kinds = kubectl("api-resources", which, "--verbs=list", "--output=name").split()
    found = kubectl("get", ",".join(sorted(kinds)), "--output=json", "--ignore-not-found")
    return {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in json.loads(found or "{}").get("items", ())}
