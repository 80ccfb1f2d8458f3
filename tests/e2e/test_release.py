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
    before = {part: _names_and_uids(release, part) for part in parts}
    requests = [release.completion(team.id("tiny"), every=0.2),
                release.completion(team.id("tiny"), every=0.2, tokens=64, stream=True)]
    with probing(tools, cluster.images[TOOLS], requests):
        release.upgrade(f"gateway.holdSeconds={HOLD}", "operator.logLevel=debug", "pool.spec.podLabels.upgraded=yes")
        for part in parts:
            eventually(lambda part=part: not before[part] & _names_and_uids(release, part),  # type: ignore[misc]
                       lambda part=part: f"{part}: {_names_and_uids(release, part)}")  # type: ignore[misc]
        release.pool_is_up()
    assert release.key() == key
    assert [len(release.pods(part)) for part in parts] == [2, 2, 2]


def _names_and_uids(release: Release, part: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in release.pods(part)}


def test_a_hold_that_is_too_short_as_the_openai_client_sees_it(release: Release, team: Team) -> None:
    """The download stands still, so no load can be in time; the client is told when to come again."""
    release.upgrade(f"gateway.holdSeconds={HOLD}")
    team.declare(model("tiny", 5))
    sha256 = team.status("tiny")["facts"]["sha256"]
    stalled = {"pattern": f"/repos/{sha256}*", "times": None, "hang": 1000}
    release.client.ask(f"{release.hub}/_double/fail", stalled)
    try:
        with _forwarded(release) as url:
            client = OpenAI(base_url=f"{url}/v1", api_key=release.key(), max_retries=0, timeout=60)
            with pytest.raises(APIStatusError) as caught:
                client.completions.create(model=team.id("tiny"), prompt="Once upon a time", max_tokens=4)
            assert (caught.value.status_code, caught.value.code) == (503, "hold_expired")
            assert int(caught.value.response.headers["retry-after"]) >= 1
            release.client.ask(f"{release.hub}/_double/heal", {})
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
    assert _of_the_cluster(release.kubectl) == {f"customresourcedefinition/{kind}.paddock.dev"
                                                for kind in ("models", "runtimepools", "modelhubs")}
    kept = _everything(team.kubectl)
    assert "model/tiny" in kept
    assert all(each == "model/tiny" or each.startswith("configmap/tiny-") for each in kept), kept
    team.kubectl("delete", "model", "tiny")
    eventually(lambda: not _everything(team.kubectl), lambda: _everything(team.kubectl))
    release.kubectl("delete", "crd", "models.paddock.dev", "runtimepools.paddock.dev", "modelhubs.paddock.dev")
    assert _of_the_cluster(release.kubectl) == set()


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
