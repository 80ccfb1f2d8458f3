"""Two operators, one leader by Lease: whoever was frozen writes nothing when it wakes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e import faults
from tests.e2e.kubectl import Kubectl
from tests.e2e.release import Release
from tests.e2e.team import Team, model
from tests.e2e.waiting import eventually

MODELS = 12
AWAKE_SECONDS = 8.0
KINDS = "models,configmaps,events"


@pytest.mark.faults
def test_a_frozen_leader_is_replaced_and_writes_nothing_when_it_wakes(release: Release, team: Team) -> None:
    operators = {pod["metadata"]["name"]: pod for pod in release.pods("operator")}
    leader = _leader(release)
    [other] = operators.keys() - {leader}
    names = [f"tiny-{number}" for number in range(MODELS)]
    team.kubectl.apply(model("first", 0))
    team.becomes("first", Ready=("True", "Servable"))
    transitions = _transitions(release)
    team.kubectl.apply(*(model(name, number % 4) for number, name in enumerate(names)))
    with faults.frozen(operators[leader]):  # in the middle of many writes
        eventually(lambda: _leader(release) == other, lambda: f"{_leader(release)} leads")
        team.kubectl.wait("models", "condition=Ready", everything=True)
        settled = _settled(team.kubectl)
        assert {f"Model/{name}" for name in names} < settled.keys()
    written = _writes(release, operators[leader])
    time.sleep(AWAKE_SECONDS)
    assert _writes(release, operators[leader]) == written
    assert _versions(team.kubectl) == settled
    assert _leader(release) == other
    assert _transitions(release) == transitions + 1
    assert release.metric(operators[leader], "paddock_operator_leader") == 0
    assert release.metric(operators[other], "paddock_operator_leader") == 1
    # Alive and in its place, not restarted by a probe.
    assert {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
            for pod in release.pods("operator")} == {leader: 0, other: 0}


def _settled(kubectl: Kubectl) -> dict[str, str]:
    """The versions of all objects, once nobody writes any more."""
    seen = [_versions(kubectl)]

    def is_still() -> bool:
        time.sleep(2.0)
        seen.append(_versions(kubectl))
        return seen[-1] == seen[-2]

    eventually(is_still)
    return seen[-1]


def _writes(release: Release, pod: dict[str, Any]) -> float:
    """Of anything but the Lease, whatever became of it."""
    name = "paddock_operator_writes_total"
    return release.metric(pod, name) - release.metric(pod, name, kind="leases")


def _leader(release: Release) -> str:
    """The name of the pod that holds the Lease."""
    holder: str = release.kubectl.get("lease", "paddock-operator")["spec"]["holderIdentity"]
    return holder.partition("_")[0]


def _transitions(release: Release) -> int:
    return int(release.kubectl.get("lease", "paddock-operator")["spec"]["leaseTransitions"])


def _versions(kubectl: Kubectl) -> dict[str, str]:
    return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
            for each in kubectl.list(KINDS)}
