"""Fault 14: configurations pushed while a Model loads. The newest wins, never a mix; an invalid one leaves the last
good serving. And `/events`: without gaps, over a restart too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from paddock_api.shards import file_name
from tests.pod_kit import eventually
from tests.projected import pool_config, shard_files
from tests.runtime_kit import RuntimePod, Sent, sent_events

Tiny = Callable[[int], Path]


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[RuntimePod]:
    with RuntimePod(tmp_path) as pod:
        yield pod


def test_a_pod_starts_without_a_configuration_and_takes_the_first(pod: RuntimePod, tiny: Tiny) -> None:
    """The ConfigMaps are optional: a pod may be there before them."""
    state = pod.state()
    assert (state["config_generation"], state["config_error"], state["models"]) == (0, None, [])
    pod.put("a.gguf", tiny(0))
    pod.apply(pod.entry("a", pod.in_volume("a.gguf")))
    assert pod.complete("a").status_code == 200


def test_a_configuration_pushed_while_loading_wins(pod: RuntimePod, gemma: Path, tiny: Tiny) -> None:
    """The Model's file is changed while its load runs: the waiting request is answered by the newest revision."""
    pod.put("gemma.gguf", gemma)
    pod.put("quick.gguf", tiny(0))
    first = pod.in_volume("gemma.gguf")
    pod.apply(pod.entry("m", first))
    with httpx.Client(timeout=60, headers=pod.client.headers) as other:
        asking = other.stream("POST", f"{pod.url}/v1/completions", headers={"paddock-model": "team/m"}, json={
            "model": "m", "prompt": "x", "max_tokens": 2, "stream": True, "temperature": 0})
        pod.post("/models/team/m:load")
        pod.until_model("m", lambda model: model["phase"] in ("Loading", "Fetching", "Ready"))
        revisions = []
        for number in range(1, 6):
            newest = pod.in_volume("quick.gguf", engine={"cacheTokens": 1024 + 256 * number})
            revisions.append(newest)
            pod.push(pod.entry("m", newest))
        with asking as response:
            answered = [event.data["system_fingerprint"] for event in sent_events(response) if event.data != "[DONE]"]
        assert len(set(answered)) == 1
        assert answered[0] in {first.id, *(each.id for each in revisions)}
    state = pod.until_model("m", lambda model: model["desired_revision"] == revisions[-1].id)
    assert pod.complete("m").json()["system_fingerprint"] == revisions[-1].id
    assert state["bad_revisions"] == []
    told = [line["data"]["generation"] for line in pod.log() if line.get("event") == "config"]
    assert told == sorted(told)
    assert told[-1] == pod.generation


def test_a_mix_of_two_generations_is_never_in_force(pod: RuntimePod, tiny: Tiny) -> None:
    """Kubelet may see the ConfigMaps of two generations: Models of the old and the new must never be seen together."""
    pod.put("a.gguf", tiny(0))

    def generation(number: int) -> dict[str, bytes]:
        entries = [pod.entry(f"m{index}", pod.in_volume("a.gguf", aliases=[f"alias-{number}-{index}"]))
                   for index in range(12)]
        return shard_files(pool_config(number, entries))

    old, new = generation(1), generation(2)
    pod.config.swap(old)
    pod.until(lambda state: state["config_generation"] == 1)
    with pod.events() as response:
        events = sent_events(response)
        next(events)
        for count in (1, 5, 11, 15):
            pod.config.swap(old | {file_name(index): new[file_name(index)] for index in range(count)})
            models = pod.state()["models"]
            assert {alias.split("-")[1] for model in models for alias in model["aliases"]} == {"1"}
        pod.config.swap(new)
        taken = next(event for event in events if event.data["type"] == "config")
    assert (taken.data["data"]["generation"], taken.data["data"].get("error")) == (2, None)
    models = pod.state()["models"]
    assert {alias.split("-")[1] for model in models for alias in model["aliases"]} == {"2"}


def test_an_invalid_set_leaves_the_last_good_serving_and_says_so(pod: RuntimePod, tiny: Tiny) -> None:
    pod.put("a.gguf", tiny(0))
    good = pod.in_volume("a.gguf")
    pod.apply(pod.entry("a", good))
    before = pod.state()
    pod.generation += 1
    broken = shard_files(pool_config(pod.generation, []))
    broken[file_name(3)] = broken[file_name(3)][:-5]
    pod.config.swap(broken)
    state = pod.until(lambda state: state["config_error"])
    assert (state["config_generation"], state["config_hash"]) == (before["config_generation"], before["config_hash"])
    assert "shard 3" in state["config_error"]
    assert pod.complete("a").json()["system_fingerprint"] == good.id
    pod.apply(pod.entry("b", good))
    state = pod.state()
    assert (state["config_error"], [model["name"] for model in state["models"]]) == (None, ["b"])


def test_an_older_generation_changes_nothing(pod: RuntimePod, tiny: Tiny) -> None:
    pod.put("a.gguf", tiny(0))
    pod.generation = 5
    pod.apply(pod.entry("a", pod.in_volume("a.gguf")))
    pod.config.swap(shard_files(pool_config(4, [])))
    pod.generation = 6
    pod.apply(pod.entry("a", pod.in_volume("a.gguf")), pod.entry("b", pod.in_volume("a.gguf")))
    generations = [line["data"]["generation"] for line in pod.log() if line.get("event") == "config"]
    assert generations == [0, 6, 7]


def follow(pod: RuntimePod, tiny: Tiny) -> list[Sent]:
    """All that is told while a Model is loaded, used and unloaded."""
    pod.put("a.gguf", tiny(0))
    seen: list[Sent] = []
    with pod.events() as response:
        events = sent_events(response)
        seen.append(next(events))
        pod.push(pod.entry("a", pod.in_volume("a.gguf")))
        seen += _until(events, lambda event: event.data["type"] == "phase" and event.data["data"]["to"] == "Cached")
        with httpx.Client(timeout=60, headers=pod.client.headers) as other:
            for verb in ("load", "unload"):
                other.post(f"{pod.url}/models/team/a:{verb}")
                to = "Ready" if verb == "load" else "Cached"
                seen += _until(events, lambda event, to=to: event.data["data"].get("to") == to)
    return seen


def _until(events: Iterator[Sent], condition: Callable[..., Any]) -> list[Sent]:
    seen = []
    for event in events:
        seen.append(event)
        if condition(event):
            return seen
    raise AssertionError("the stream ended")


def test_events_are_told_without_a_gap_and_a_new_life_is_a_new_epoch(tmp_path: Path, tiny: Tiny) -> None:
    lives: list[str] = []
    for _ in range(2):
        with RuntimePod(tmp_path) as pod:
            pod.generation = 0 if not lives else 1
            seen = follow(pod, tiny)
            assert pod.stop() == 0
        snapshot, changes = seen[0], seen[1:]
        assert (snapshot.kind, {event.kind for event in changes}) == ("snapshot", {"change"})
        epoch = snapshot.data["epoch"]
        numbers = [snapshot.data["sequence"], *(event.data["sequence"] for event in changes)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert [event.id for event in seen] == [f"{epoch}-{number}" for number in numbers]
        assert {event.data["epoch"] for event in changes} == {epoch}
        phases = [event.data["data"]["to"] for event in changes if event.data["type"] == "phase"]
        assert phases[-5:] == ["Loading", "Ready", "Draining", "Unloading", "Cached"]
        lives.append(epoch)
    assert lives[0] != lives[1]


def test_a_follower_is_told_of_the_end_and_its_stream_ends(tmp_path: Path) -> None:
    with RuntimePod(tmp_path) as pod, pod.events() as response:
        events = sent_events(response)
        assert next(events).data["draining"] is False
        pod.signal()
        told = list(events)  # until the server ends it
        assert "draining" in [event.data["type"] for event in told]
        assert pod.wait() == 0
    eventually(lambda: pod.log()[-1]["message"] == "ended", within=5)
