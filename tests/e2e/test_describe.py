"""What `kubectl describe model` tells, in a real cluster with real pods. Golden texts: tests/unit/operator/golden."""

from __future__ import annotations

import json

from tests.e2e.recipes import tiny_file, tiny_repository
from tests.e2e.release import Release
from tests.e2e.team import Team, model

MIB = 1 << 20
# Of 1 GiB in a pod there is room for one that takes so much, and for no second.
LARGE = {"contextLength": 512, "cacheTokens": 350_000}


def test_fresh_then_downloading_then_loaded_then_idle(release: Release, team: Team) -> None:
    control = f"{release.hub}/_double"
    team.declare(model("tiny", 3))
    fresh = team.described("tiny")
    assert fresh.reasons == {"Resolved"}
    assert fresh.says(f"revision {team.status('tiny')['revision']}: tiny-3-F32.gguf, F32")
    assert "requests are served; the first one loads it" in fresh.above
    assert team.conditions("tiny") == {
        "Resolved": ("True", "Resolved"), "Ready": ("True", "Servable"), "Degraded": ("False", "AsWanted"),
        "Cached": ("False", "NotCached"), "Loaded": ("False", "NotLoaded")}

    sha256 = team.status("tiny")["facts"]["sha256"]
    slow = {"pattern": f"/repos/{sha256}*", "times": None, "rate": 100_000}
    release.client.ask(f"{control}/fail", slow)
    asking = release.client.begin([release.completion(team.id("tiny"))])
    try:
        team.becomes("tiny", Cached=("False", "Fetching"), Loaded=("False", "Fetching"), Ready=("True", "Servable"))
        assert team.described("tiny").reasons == {"Resolved", "Downloading"}
    finally:
        release.client.ask(f"{control}/heal", {})
    assert asking.answers()[0].status == 200
    team.becomes("tiny", Cached=("True", "Cached"), Loaded=("True", "Loaded"))
    told = team.told("tiny")
    assert [each for each in told if each != "Loading"] == ["Resolved", "Downloading", "Cached", "Loaded"]
    assert team.described("tiny").reasons == set(told)

    team.change("tiny", loading={"idleTimeout": "1s"})
    team.becomes("tiny", Loaded=("False", "Idle"))
    assert team.told("tiny")[-1] == "Unloaded"
    idle = team.described("tiny")
    assert "Unloaded" in idle.reasons
    assert idle.says("unloaded after 1s without a request (spec.loading.idleTimeout)")


def test_evicted_for_another(release: Release, team: Team) -> None:
    pod = release.pods("runtime")[0]["metadata"]["name"]
    first, second = team.placed(pod, 2)
    loading = {"minResidency": "0s"}
    team.declare(model(first, 0, engine=LARGE, loading=loading), model(second, 1, engine=LARGE, loading=loading))
    estimates = [team.status(name)["memory"]["estimatedBytes"] for name in (first, second)]
    assert all(512 * MIB < each < 1024 * MIB for each in estimates), estimates
    assert release.complete(team.id(first)).status == 200
    team.becomes(first, Loaded=("True", "Loaded"))
    assert release.complete(team.id(second)).status == 200
    team.becomes(first, Loaded=("False", "Evicted"), Ready=("True", "Servable"))
    evicted = team.described(first)
    assert "Evicted" in evicted.reasons
    assert evicted.says("unloaded: another Model needed the memory; the next request loads it again")
    assert release.complete(team.id(first)).status == 200
    team.becomes(first, Loaded=("True", "Loaded"))


def test_a_bad_checksum(release: Release, team: Team) -> None:
    url = f"{release.hub}/{tiny_repository(6)}/resolve/main/{tiny_file(6)}"
    wrong = "ab" * 32
    team.declare(model("forged", source={"http": {"url": url, "sha256": wrong}}))
    answer = release.complete(team.id("forged"))
    assert (answer.status, answer.json()["error"]["code"]) == (503, "checksum_mismatch")
    assert answer.headers["x-should-retry"] == "false"
    mismatch = ("False", "ChecksumMismatch")
    team.becomes("forged", Ready=mismatch, Loaded=mismatch, Degraded=("False", "NotServable"))
    described = team.described("forged")
    assert "ChecksumMismatch" in described.reasons
    assert described.says(wrong)
    assert [event[0] for event in described.events if event[1] == "ChecksumMismatch"] == ["Warning"]


def test_what_can_never_fit(release: Release, team: Team) -> None:
    team.kubectl.apply(model("huge", engine={"cacheTokens": 10_000_000}))
    team.becomes("huge", Ready=("False", "CannotFit"), Resolved=("True", "Resolved"), Loaded=("False", "NotLoaded"))
    described = team.described("huge")
    assert described.reasons == {"Resolved", "CannotFit"}
    assert described.says("and a pod has 1Gi: lower spec.engine.cacheTokens or contextLength")
    answer = release.complete(team.id("huge"))
    assert answer.status == 503
    assert json.loads(answer.text)["error"]["code"] == "no_fit"
