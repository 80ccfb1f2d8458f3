"""Models that are usually asked next are loaded by themselves, into spare room only, with real children."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from paddock_api.pool import PoolConfig, PoolEntry
from paddock_api.pool_settings import PoolSettings
from paddock_api.state import Phase
from paddock_runtime.config import DirectorySource
from paddock_runtime.engine.types import Charge
from paddock_runtime.lifecycle.remember import KeptHabits
from paddock_runtime.record import open_record
from tests.lifecycle_kit import MIB, Faulty, Pod, running, tiny_entry, until
from tests.pod_kit import PodThread, eventually, write_model

Tiny = Callable[[int], Path]
SMALL = Faulty(charge=Charge(weights_bytes=48 * MIB, context_bytes=12 * MIB))
ONE, TWO = 70 * MIB, 130 * MIB  # room for so many Models
ON = PoolSettings(preload_percent=100)


def apply(pod: Pod, settings: PoolSettings, *entries: PoolEntry) -> None:
    pod.generation += 1
    pod.supervisor.apply(PoolConfig(generation=pod.generation, settings=settings.document(),
                                    models={str(entry.id): entry for entry in entries}))


def models(tiny: Tiny) -> list[PoolEntry]:
    """`b` leaves by itself when it is not used."""
    return [tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1), loading={"idleTimeout": "1s"}), tiny_entry("c", tiny(2))]


async def make_a_habit(pod: Pod) -> None:
    """Twice `a`, then `b`; in the end `b` has left again."""
    for _ in range(2):
        assert (await pod.ask("a")).complete
        assert (await pod.ask("b")).complete
    await until(lambda: pod.phase("b") is Phase.CACHED)


async def test_what_usually_follows_is_loaded_by_itself_and_a_hit_is_counted(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, types=[SMALL], memory=TWO) as pod:
        apply(pod, ON, *models(tiny))
        await make_a_habit(pod)
        assert (await pod.ask("a")).complete
        await until(lambda: pod.phase("b") is Phase.READY)
        record = pod.supervisor.guesses()
        assert (record.loads, record.hits, record.misses) == (1, 0, 0)
        await until(lambda: pod.model("b").share_bytes is None)  # nobody pays for a guess
        loads = pod.model("b").loads
        assert (await pod.ask("b")).complete
        assert pod.model("b").loads == loads, "it was there already"
        assert (record.loads, record.hits, record.misses) == (1, 1, 0)


@pytest.mark.parametrize(("memory", "settings"), [
    (ONE, ON), (TWO, PoolSettings()), (TWO, PoolSettings(preload_percent=40))],
    ids=["no room", "off", "beyond its share"])
async def test_it_is_not_loaded_without_room_or_when_off(
        tmp_path: Path, tiny: Tiny, memory: int, settings: PoolSettings) -> None:
    async with running(tmp_path, types=[SMALL], memory=memory) as pod:
        apply(pod, settings, *models(tiny))
        await make_a_habit(pod)
        loads = pod.model("b").loads
        for _ in range(3):  # each is a decision or more
            assert (await pod.ask("a")).complete
        assert pod.phase("a") is Phase.READY
        assert (pod.phase("b"), pod.model("b").loads) == (Phase.CACHED, loads)
        assert pod.supervisor.guesses().loads == 0


async def test_a_guess_makes_way_before_anything_else_and_is_not_tried_again(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, types=[SMALL], memory=TWO) as pod:
        apply(pod, ON, *models(tiny))
        await make_a_habit(pod)
        assert (await pod.ask("a")).complete
        await until(lambda: pod.phase("b") is Phase.READY)
        loads = pod.model("a").loads
        assert (await pod.ask("c")).complete
        assert (pod.phase("a"), pod.model("a").loads) == (Phase.READY, loads), "it was idle for longer, but asked for"
        assert pod.phase("b") is not Phase.READY
        record = pod.supervisor.guesses()
        assert (record.loads, record.hits, record.misses) == (1, 0, 1)


async def test_turned_off_what_was_loaded_on_a_guess_leaves(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, types=[SMALL], memory=TWO) as pod:
        apply(pod, ON, *models(tiny))
        await make_a_habit(pod)
        assert (await pod.ask("a")).complete
        await until(lambda: pod.phase("b") is Phase.READY)
        apply(pod, PoolSettings(), *models(tiny))
        await until(lambda: pod.phase("b") is Phase.CACHED)
        assert pod.phase("a") is Phase.READY


async def test_habits_outlive_the_pod_and_a_rhythm_loads_without_any_request(tmp_path: Path, tiny: Tiny) -> None:
    """Asked at this time on each of the last three days: as it was written by an earlier life."""
    record = open_record(tmp_path / "record", "pod")
    began = time.time()
    number = int((began + 300) // 1800)
    days = {slot: divmod(slot, 48) for slot in (number, number + 1)}  # the next one too: it may come meanwhile
    today = number // 48
    asked = {str(slot): [day - 1, 0b111] for day, slot in days.values()}
    habits = {"format": 1, "follows": {}, "rhythm": {"default/b": [today - 4, asked]}}
    record.shelf("habits", KeptHabits, limit=1).put("all", KeptHabits(text=json.dumps(habits)))
    record.close()
    record = open_record(tmp_path / "record", "pod")
    async with running(tmp_path, types=[SMALL], memory=TWO, record=record) as pod:
        apply(pod, ON, *models(tiny))
        await until(lambda: pod.phase("b") is Phase.READY)
        assert pod.phase("a") is Phase.CACHED
        assert (await pod.ask("b")).complete
        assert pod.supervisor.guesses().hits == 1
    record.close()
    record = open_record(tmp_path / "record", "pod")
    stored = record.shelf("habits", KeptHabits, limit=1).get("all")
    record.close()
    assert stored is not None
    kept = json.loads(stored.text)
    assert max(day for day, _ in kept["rhythm"]["default/b"][1].values()) >= int(began // 86_400), "it was asked today"


def test_a_pod_that_predicts_tells_its_hit_rate_and_keeps_its_habits(tmp_path: Path, tiny: Tiny) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for number, name in enumerate("ab"):
        write_model(folder, name, tiny(number), engine={"contextLength": 512, "cacheTokens": 1024, "parallel": 4},
                    loading={"idleTimeout": "1s", "minResidency": "0s"})
    source = DirectorySource(folder, settings=PoolSettings(preload_percent=20))
    with PodThread(folder, tmp_path / "cache", source=source, record=tmp_path / "record") as pod:
        def ask(names: str) -> None:
            for name in names:
                body = {"model": name, "prompt": "Once", "max_tokens": 2}
                assert httpx.post(f"{pod.url}/v1/completions", json=body, timeout=60).status_code == 200

        ask("abab")
        eventually(lambda: pod.model("b")["phase"] == "Cached")
        ask("a")
        eventually(lambda: pod.model("b")["phase"] == "Ready")
        assert value(pod, "paddock_predicted_loads_total") == 1
        assert value(pod, "paddock_predicted_load_hit_ratio") == 0
        ask("b")
        assert value(pod, "paddock_predicted_load_hits_total") == 1
        assert value(pod, "paddock_predicted_load_hit_ratio") > 0
    record = open_record(tmp_path / "record", "local")
    assert record.shelf("habits", KeptHabits, limit=1).get("all") is not None
    record.close()


def value(pod: PodThread, name: str) -> float:
    text = httpx.get(f"{pod.url}/metrics").text
    return next(sample.value for family in text_string_to_metric_families(text) for sample in family.samples
                if sample.name == name)
