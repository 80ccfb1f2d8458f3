"""Two gateways in front of two runtime pods: one load for a crowd, and what a client sees when a gateway dies."""

from __future__ import annotations

from tests.e2e.agent import fault
from tests.e2e.release import Release, address
from tests.e2e.team import Team, model

CROWD = 100


def test_a_hundred_requests_at_once_for_a_cold_model_are_one_load(release: Release, team: Team) -> None:
    """Nobody has even its file. Whoever asks whom, one pod fetches and loads it, once, and all are answered."""
    team.declare(model("tiny", 4, scaling={"maxReplicas": 1}))
    name = team.id("tiny")
    answers = release.client.ask_all([release.completion(name, timeout=120.0)] * CROWD)
    assert [answer.status for answer in answers] == [200] * CROWD
    assert {answer.json()["usage"]["completion_tokens"] for answer in answers} == {4}
    held = release.held(team.namespace, "tiny")
    assert sorted(each["loads"] for each in held.values()) == [0, 1], held
    assert sorted(each["phase"] for each in held.values()) == ["Absent", "Ready"], held
    served = [release.metric(pod, "paddock_gateway_requests_total", model=name, code="200")
              for pod in release.pods("gateway")]
    assert sum(served) == CROWD
    assert all(served), f"both gateways had a part: {served}"
    team.becomes("tiny", Loaded=("True", "Loaded"))
    assert team.told("tiny").count("Loaded") == 1


def test_streams_outlive_the_death_of_the_other_gateway(release: Release, team: Team) -> None:
    team.declare(model("tiny", 1))
    killed, other = release.pods("gateway")
    # More than fits into the buffers on the way: nothing is finished before its client reads on.
    through = [release.completion(team.id("tiny"), at=f"http://{address(pod)}:8080", tokens=3000, stream=True,
                                  pause_after=5, timeout=120.0) for pod in (killed, other) * 2]
    asking = release.client.begin(through)
    asking.until_paused()
    release.kubectl("delete", "pod", killed["metadata"]["name"], "--force", "--grace-period=0")
    answers = asking.answers()
    assert [answer.status for answer in answers] == [200] * 4
    cut, whole = answers[0::2], answers[1::2]
    for answer in whole:
        assert fault(vars(answer)) == ""
        assert sum(line.startswith("data: {") for _, line in answer.lines) >= 3000
    for answer in cut:
        assert not any(line == "data: [DONE]" for _, line in answer.lines), "what was cut does not look complete"
    assert release.complete(team.id("tiny")).status == 200
    release.kubectl.rolled_out("deployment/paddock-gateway")
    assert killed["metadata"]["name"] not in [pod["metadata"]["name"] for pod in release.pods("gateway")]
