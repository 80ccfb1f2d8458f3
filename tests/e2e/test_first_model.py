"""From `helm install` and `kubectl apply` to an answer, as docs/install.md tells it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.images import ROOT
from tests.e2e import pods
from tests.e2e.kubectl import Kubectl
from tests.e2e.release import Release
from tests.e2e.team import Team

EXAMPLE = ROOT / "examples/cluster/model-huggingface.yaml"
NAMESPACE, NAME = "team-a", "qwen"


@pytest.fixture
def team(kubectl: Kubectl, release: Release) -> Iterator[Team]:
    """The namespace of the example."""
    with pods.fresh_namespace(kubectl, NAMESPACE) as namespace:
        yield Team(namespace, release)


def test_a_model_is_one_kubectl_apply_and_one_request_away(release: Release, team: Team) -> None:
    """Ready without anything in memory or on disk, loaded by the first request, gone after its idle time."""
    team.kubectl("apply", "-f", str(EXAMPLE))
    team.kubectl.wait(f"model/{NAME}", "condition=Ready")
    assert team.conditions(NAME)["Loaded"] == ("False", "NotLoaded")
    assert team.conditions(NAME)["Cached"] == ("False", "NotCached")
    assert [state["engines"] for state in release.states().values()] == [[]] * 2

    body = {"model": NAME, "max_tokens": 24, "temperature": 0, "stop": ["\nUser:"],
            "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    url = f"{release.url}/v1/chat/completions"
    assert release.client.ask(url, body).status == 401, "nobody gets in without a key"
    answer = release.client.ask(url, body, headers={"Authorization": f"Bearer {release.key()}"})
    assert answer.status == 200, answer
    [choice] = answer.json()["choices"]
    assert "Paris" in choice["message"]["content"]
    team.becomes(NAME, Loaded=("True", "Loaded"), Cached=("True", "Cached"))
    status = team.status(NAME)
    assert status["facts"]["architecture"] == "gemma3"
    assert status["replicas"]["ready"] == 1
    assert status["activeRevision"] == status["revision"] == answer.json()["system_fingerprint"]

    team.change(NAME, loading={"idleTimeout": "2s"})
    team.becomes(NAME, Loaded=("False", "Idle"), Ready=("True", "Servable"), Cached=("True", "Cached"))
    assert [each["phase"] for each in release.held(NAMESPACE, NAME).values() if each["loads"]] == ["Cached"]
    assert [reason for reason in team.told(NAME) if reason in ("Resolved", "Loaded", "Unloaded")][:1] == ["Resolved"]
    assert team.told(NAME)[-1] == "Unloaded"


def test_every_pod_was_admitted_under_pod_security_restricted(release: Release, team: Team, kubectl: Kubectl) -> None:
    namespace = kubectl.get("namespace", release.kubectl.namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert [len(release.pods(part)) for part in ("operator", "gateway", "runtime")] == [2, 2, 2]
    events = release.kubectl.list("events")
    assert [each["message"] for each in events if each["reason"] == "FailedCreate"] == []
    assert [pod["metadata"]["name"] for part in ("operator", "gateway", "runtime") for pod in release.pods(part)
            for container in pod["status"]["containerStatuses"] if container["restartCount"]] == []
