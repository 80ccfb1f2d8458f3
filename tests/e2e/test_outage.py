"""The API server goes away under load: whoever is served stays served, nothing is undone, all settles afterwards."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e import faults
from tests.e2e.ground import Ground
from tests.e2e.kubectl import Kubectl
from tests.e2e.probe import probing
from tests.e2e.recipes import TOOLS
from tests.e2e.release import NAME, Release
from tests.e2e.team import Team, model
from tests.e2e.waiting import eventually

# Kinds whose objects nobody has a reason to touch meanwhile.
KINDS = "secrets,services,statefulsets,poddisruptionbudgets,deployments,networkpolicies,serviceaccounts"


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [90, pytest.param(300, marks=pytest.mark.nightly)])
def test_inference_goes_on_without_the_api_server(
    seconds: int, release: Release, team: Team, tools: Kubectl, cluster: Ground
) -> None:
    team.declare(model("warm", 0, loading={"idleTimeout": "1h"}), model("cold", 1))
    assert release.complete(team.id("warm")).status == 200
    before, alive = _objects(release.kubectl), _lives(release)
    requests = [
        release.completion(team.id("warm"), every=0.3),
        release.completion(team.id("warm"), every=0.3, tokens=64, stream=True),
        # It is loaded in the outage, by the first request for it.
        release.completion(team.id("cold"), every=5.0, after=seconds / 2),
    ]
    with probing(tools, cluster.images[TOOLS], requests, begun=2) as probe:
        with faults.no_api_server():
            time.sleep(seconds)
        asked = probe.answers()
        assert min(asked[:2]) > seconds
        assert asked[2] > 1
        eventually(lambda: _lives(release) == alive, lambda: f"{_lives(release)} instead of {alive}")
        team.declare(model("new", 2))
        team.change("warm", aliases=["warm-and-known-by-another-name"])
        eventually(lambda: release.complete("warm-and-known-by-another-name").status == 200)
        assert release.complete(team.id("new")).status == 200
        team.becomes("cold", Loaded=("True", "Loaded"))
        release.pool_is_up()
        assert _objects(release.kubectl) == before
        assert _lives(release) == alive


def _objects(kubectl: Kubectl) -> dict[str, Any]:
    """What each object of the release asks for, by its identity."""
    return {
        f"{each['kind']} {each['metadata']['name']} {each['metadata']['uid']}":
            each["metadata"].get("generation", each.get("data"))
        for each in kubectl.list(KINDS) if each["metadata"]["name"] != f"sh.helm.release.v1.{NAME}.v1"
    }


def _lives(release: Release) -> dict[str, tuple[str, int, bool]]:
    """Of every pod: its identity, its restarts, and whether it is ready."""
    found = {}
    for part in ("operator", "gateway", "runtime"):
        for pod in release.pods(part):
            [container] = pod["status"]["containerStatuses"]
            found[pod["metadata"]["name"]] = (pod["metadata"]["uid"], container["restartCount"], container["ready"])
    return found
