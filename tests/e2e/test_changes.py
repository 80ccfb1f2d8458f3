"""Changes under traffic: a Model's spec, a bad revision of it, a rollback, fewer pods. No request fails."""

from __future__ import annotations

import subprocess
import sys

from tests.e2e.ground import Ground
from tests.e2e.kubectl import Kubectl
from tests.e2e.probe import probing
from tests.e2e.recipes import TOOLS
from tests.e2e.release import POOL, REPLICAS, Release
from tests.e2e.team import Team, model
from tests.e2e.waiting import eventually


def test_a_changed_model_and_a_bad_revision(release: Release, team: Team, tools: Kubectl, cluster: Ground) -> None:
    team.declare(model("tiny", 0, engine={"contextLength": 512}))
    assert release.complete(team.id("tiny")).status == 200
    team.becomes("tiny", Loaded=("True", "Loaded"))
    first = team.status("tiny")["revision"]
    requests = [release.completion(team.id("tiny"), every=0.1),
                release.completion(team.id("tiny"), every=0.1, tokens=64, stream=True)]
    with probing(tools, cluster.images[TOOLS], requests) as probe:
        team.change("tiny", engine={"contextLength": 1024})
        eventually(lambda: _serves_another(team, first), lambda: team.status("tiny"))
        good = team.status("tiny")["revision"]
        assert [each["context_length"] for each in release.held(team.namespace, "tiny").values()
                if each["phase"] == "Ready"] == [1024]
        probe.goes_on()

        team.change("tiny", engine={"chatTemplate": "{% for message in messages %}"})
        team.becomes("tiny", Degraded=("True", "InvalidSpec"), Ready=("True", "LastGoodServes"))
        status = team.status("tiny")
        assert status["activeRevision"] == good != status["revision"]
        assert team.described("tiny").says("spec.engine.chatTemplate: ")
        probe.goes_on()

        said = paddock(cluster, "rollback", "tiny", "--namespace", team.namespace)
        assert said.startswith(f"{team.id('tiny')} has the spec of revision "), said
        team.becomes("tiny", Degraded=("False", "AsWanted"), Ready=("True", "Servable"), Loaded=("True", "Loaded"))
        eventually(lambda: team.status("tiny")["revision"] == good, lambda: team.status("tiny"))
        assert "back to revision" in paddock(cluster, "history", "tiny", "--namespace", team.namespace)
        probe.goes_on()

        team.change("tiny", engine={"chatTemplate": "{{ messages[0]['content'] }}"})
        eventually(lambda: _serves_another(team, good), lambda: team.status("tiny"))
        probe.goes_on()
    assert [reason for reason in team.told("tiny") if reason in ("Degraded", "Recovered")] == ["Degraded", "Recovered"]


def paddock(cluster: Ground, *command: str) -> str:
    """What the command line says of this cluster. Raises CalledProcessError."""
    arguments = [sys.executable, "-m", "paddock_cli", *command, "--kubeconfig", str(cluster.kubeconfig)]
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60).stdout


def _serves_another(team: Team, revision: str) -> bool:
    status = team.status("tiny")
    return bool(status["revision"] == status.get("activeRevision") != revision)


def test_a_smaller_pool_loses_its_highest_pod(
    release: Release, team: Team, tools: Kubectl, cluster: Ground
) -> None:
    """What the pod has in memory is served by the other one from then on."""
    kept, leaving = (pod["metadata"]["name"] for pod in release.pods("runtime"))
    [here], [there] = team.placed(kept, 1), team.placed(leaving, 1)
    scaling = {"maxReplicas": 1}
    team.declare(model(here, 0, scaling=scaling), model(there, 1, scaling=scaling))
    requests = [each for name in (here, there) for each in (
        release.completion(team.id(name), every=0.2),
        release.completion(team.id(name), every=0.2, tokens=64, stream=True))]
    with probing(tools, cluster.images[TOOLS], requests) as probe:
        assert _ready(release, team, there) == {leaving}
        release.kubectl("scale", f"runtimepool/{POOL}", f"--replicas={REPLICAS - 1}")
        release.kubectl.wait(f"pod/{leaving}", "delete")
        assert [pod["metadata"]["name"] for pod in release.pods("runtime")] == [kept]
        probe.goes_on()
        assert _ready(release, team, here) == _ready(release, team, there) == {kept}
        release.kubectl("scale", f"runtimepool/{POOL}", f"--replicas={REPLICAS}")
        release.pool_is_up()
    assert release.pods("runtime")[0]["metadata"]["name"] == kept


def _ready(release: Release, team: Team, name: str) -> set[str]:
    return {pod for pod, model in release.held(team.namespace, name).items() if model["phase"] == "Ready"}
