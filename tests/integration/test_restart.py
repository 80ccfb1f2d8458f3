"""A pod that ends in any way and starts again knows what it knew, and brings back what it had in memory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from paddock_api.pool import PoolEntry
from paddock_api.state import Phase
from paddock_runtime.engine.types import Charge, EngineType
from paddock_runtime.lifecycle import Backoff
from paddock_runtime.record import open_record, tables
from tests.integration.test_cli_serve import children_of, command, environment
from tests.lifecycle_kit import MIB, Faulty, Pod, quick, running, tiny_entry, until
from tests.pod_kit import DEADLINE, eventually, write_model

Tiny = Callable[[int], Path]
ENGINE = {"contextLength": 512, "cacheTokens": 1024, "parallel": 4}
EACH = Charge(weights_bytes=48 * MIB, context_bytes=12 * MIB)
A_DAY = {"idleTimeout": "24h", "minResidency": "0s"}


@asynccontextmanager
async def life(tmp_path: Path, *entries: PoolEntry, types: Sequence[EngineType] = (Faulty(charge=EACH),),
               **options: Any) -> AsyncIterator[Pod]:
    """One life of a pod with its record, from the first configuration on."""
    record = open_record(tmp_path / "record", "local")
    try:
        async with running(tmp_path, types=types, record=record, **options) as pod:
            pod.apply(*entries)
            yield pod
    finally:
        record.close()


def entries(tiny: Tiny, *names: str, **loading: Any) -> list[PoolEntry]:
    return [tiny_entry(name, tiny(index), loading={**A_DAY, **loading}) for index, name in enumerate(names)]


def ready(pod: Pod, *names: str) -> bool:
    return all(pod.phase(name) is Phase.READY for name in names)


def load_order(pod: Pod) -> list[str | None]:
    return [event.model for event in pod.events("phase") if event.data["to"] == "Loading"]


async def test_what_was_loaded_returns_last_used_first_within_the_budget(tmp_path: Path, tiny: Tiny) -> None:
    everyone = entries(tiny, "a", "b", "c", "d")
    async with life(tmp_path, *everyone) as pod:
        for name in ("a", "b", "c", "a"):
            assert (await pod.ask(name)).complete
    async with life(tmp_path, *everyone, memory=130 * MIB, limits=quick(concurrent_loads=1)) as pod:
        await until(lambda: ready(pod, "a", "c"), "the return of a and c")
        assert load_order(pod) == ["default/a", "default/c"]  # each takes 60 MiB: there is no room for b
        assert pod.phase("b") is Phase.CACHED
        assert pod.phase("d") is Phase.CACHED  # it never was in memory
        assert (await pod.ask("d")).complete
        assert not ready(pod, "a", "c")
        assert ready(pod, "a")  # what was used least recently left, though it was not loaded first
        assert sum(engine.charged_bytes for engine in pod.engines) <= 130 * MIB


async def test_priority_and_policy_go_before_recent_use(tmp_path: Path, tiny: Tiny) -> None:
    models = [tiny_entry("low", tiny(0), loading=A_DAY), tiny_entry("high", tiny(1), loading={**A_DAY, "priority": 7}),
              tiny_entry("kept", tiny(2), loading={**A_DAY, "policy": "Preload", "priority": -9})]
    async with life(tmp_path, *models) as pod:
        for name in ("kept", "high", "low"):
            assert (await pod.ask(name)).complete
    async with life(tmp_path, *models, limits=quick(concurrent_loads=1)) as pod:
        await until(lambda: ready(pod, "low", "high", "kept"), "the return of all")
        assert load_order(pod).index("default/high") < load_order(pod).index("default/low")
    async with life(tmp_path, *models, memory=70 * MIB) as pod:
        await until(lambda: ready(pod, "kept"), "the return of what policy keeps")
        assert load_order(pod) == ["default/kept"]


async def test_what_returns_waits_for_what_is_asked_for(tmp_path: Path, tiny: Tiny) -> None:
    everyone = entries(tiny, "a", "b")
    async with life(tmp_path, *everyone) as pod:
        assert (await pod.ask("a")).complete
    async with life(tmp_path, *everyone, memory=70 * MIB) as pod:
        stream = pod.submit("b")
        assert [output async for output in stream]
        await until(lambda: pod.phase("b") is Phase.READY)
        pod.supervisor._core.poke()
        await asyncio.sleep(0)
        assert load_order(pod)[-1] == "default/b"
        assert pod.phase("a") is not Phase.READY


async def test_what_was_unloaded_or_evicted_does_not_return(tmp_path: Path, tiny: Tiny) -> None:
    everyone = entries(tiny, "a", "b", "c")
    async with life(tmp_path, *everyone, memory=130 * MIB) as pod:
        for name in ("a", "b", "c"):  # a leaves for c
            assert (await pod.ask(name)).complete
        await pod.supervisor.unload(pod.entries["default/b"].id)
        await until(lambda: pod.phase("b") is Phase.CACHED)
        history = await pod.supervisor.history(pod.entries["default/a"].id)
    assert [(each.what, each.detail.get("reason")) for each in history.operations] == [
        ("load", None), ("evict", "room")]
    async with life(tmp_path, *everyone) as pod:
        await until(lambda: ready(pod, "c") and pod.phase("a") is pod.phase("b") is Phase.CACHED)
        assert load_order(pod) == ["default/c"]


async def test_the_last_good_revision_is_known_after_a_restart(tmp_path: Path, tiny: Tiny) -> None:
    good = tiny_entry("a", tiny(0))
    bad = tiny_entry("a", tiny(0), engine={"chatTemplate": "x", "cacheTokens": 9_000_000})
    async with life(tmp_path, good, types=[Faulty()]) as pod:
        assert (await pod.ask("a")).complete
        pod.apply(bad)
        await until(lambda: pod.model("a").bad_revisions == [bad.desired.id], "the mark")
    async with life(tmp_path, bad, types=[Faulty()]) as pod:
        assert (await pod.ask("a")).complete
        assert pod.model("a").active_revision == good.desired.id
        history = await pod.supervisor.history(bad.id)
    assert (history.desired, history.active, history.last_good) == (bad.desired.id, good.desired.id, good.desired.id)
    assert [(each.number, each.bad is None) for each in history.revisions] == [(1, True), (2, False)]
    assert ("switch", "fallback") in [(each.what, each.detail.get("cause")) for each in history.operations]


async def test_a_failure_holds_over_a_restart_until_the_file_or_our_version_changes(
        tmp_path: Path, tiny: Tiny) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"this is no model at all" * 1000)
    broken = tiny_entry("a", path)
    async with life(tmp_path, broken) as pod:
        await until(lambda: pod.phase("a") is Phase.FAILED)
        first = pod.model("a").failure
    assert first is not None
    async with life(tmp_path, broken) as pod:
        assert pod.phase("a") is Phase.FAILED
        again = pod.model("a").failure
        assert again is not None
        assert (again.reason, again.message, again.attempts) == (first.reason, first.message, first.attempts)
        assert again.at == pytest.approx(first.at, abs=1.0)
        path.write_bytes(tiny(0).read_bytes())
        await until(lambda: pod.phase("a") is Phase.CACHED, "that the mended file is looked at")
        history = await pod.supervisor.history(broken.id)
        assert [each.what for each in history.operations] == ["fail"]
    path.write_bytes(b"broken again, and this is no model" * 1000)
    async with life(tmp_path, broken) as pod:
        await until(lambda: pod.phase("a") is Phase.FAILED)
    async with life(tmp_path, broken, version="another") as pod:
        assert pod.phase("a") is not Phase.FAILED


async def test_what_an_engine_took_beyond_its_estimate_is_charged_after_a_restart(tmp_path: Path, tiny: Tiny) -> None:
    greedy = Faulty(grow_mib=300, charge=EACH)
    limits = quick(memory_interval=0.1, oom_backoff=Backoff(first=0.1, most=0.1))
    model = tiny_entry("a", tiny(0), loading=A_DAY)
    async with life(tmp_path, model, types=[greedy], limits=limits) as pod:
        assert (await pod.ask("a")).complete
        os.kill(pod.pids[0], signal.SIGUSR1)
        await until(lambda: [event.data["reason"] for event in pod.events("engine_ended")] == ["engine_oom"])
    async with life(tmp_path, model, types=[Faulty(charge=EACH)]) as pod:
        await until(lambda: pod.phase("a") is Phase.CACHED, "the end of the pause after its failure")
        assert (await pod.ask("a")).complete
        assert pod.engines[0].charged_bytes > (60 + 64) * MIB, "what it was seen to take, not what was estimated"


async def test_requests_are_counted_by_the_hour(tmp_path: Path, tiny: Tiny) -> None:
    async with life(tmp_path, *entries(tiny, "a", "b")) as pod:
        for name in ("a", "b", "a"):
            assert (await pod.ask(name)).complete
    record = open_record(tmp_path / "record", "local")
    try:
        hours, firsts = await record.read(tables.usage), await record.read(tables.firsts)
    finally:
        record.close()
    counts = {name: sum(hour.requests for hour in hours if hour.model == name) for name in ("default/a", "default/b")}
    assert counts == {"default/a": 2, "default/b": 1}
    assert [first.model for first in firsts] == ["default/a", "default/b"]


@contextmanager
def serving(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    (tmp_path / "tmp").mkdir(exist_ok=True)
    process = subprocess.Popen(
        command("serve", tmp_path / "models", "--port", "0", "--cache", tmp_path / "cache"),
        env=environment(tmp_path / "tmp"), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        url = json.loads(process.stderr.readline())["data"]["url"]
        drained = threading.Thread(target=process.stderr.read)
        drained.start()
        eventually(lambda: answers(url))
        yield process, url
    finally:
        pids = children_of(process.pid)
        process.kill()
        process.wait()
        drained.join()
        process.stderr.close()
        eventually(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")])


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def states(url: str) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in httpx.get(f"{url}/state").json()["models"]}


def complete(url: str, model: str, tokens: int = 2) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", timeout=DEADLINE, json={
        "model": model, "prompt": "Once upon a time", "max_tokens": tokens, "temperature": 0, "ignore_eos": True})


def load_for_ever(url: str, model: str) -> None:
    """Asks until the server is gone."""
    try:
        while True:
            complete(url, model, 20)
    except httpx.TransportError:
        return


def test_kill_9_under_load_loses_nothing(tmp_path: Path, tiny: Tiny) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for index, name in enumerate(("a", "b", "idle")):
        write_model(models, name, tiny(index), engine=ENGINE, loading=A_DAY)
    with serving(tmp_path) as (process, url):
        assert {complete(url, name).status_code for name in ("a", "b")} == {200}
        manifest = yaml.safe_load((models / "a.yaml").read_text())
        manifest["spec"]["defaults"] = {"temperature": 0.5}
        (models / "a.yaml").write_text(yaml.safe_dump(manifest))
        eventually(lambda: [each["number"] for each in history(url, "a")["revisions"]] == [1, 2])
        eventually(lambda: states(url)["a"]["active_revision"] == states(url)["a"]["desired_revision"])
        before = {name: history(url, name) for name in ("a", "b", "idle")}
        used = {name: state["last_used"] for name, state in states(url).items()}
        clients = [threading.Thread(target=load_for_ever, args=(url, name)) for name in ("a", "b") for _ in range(3)]
        for client in clients:
            client.start()
        eventually(lambda: all(states(url)[name]["busy"] for name in ("a", "b")))
        os.kill(process.pid, signal.SIGKILL)
        for client in clients:
            client.join(DEADLINE)
    with serving(tmp_path) as (process, url):
        eventually(lambda: {name: state["phase"] for name, state in states(url).items()}
                   == {"a": "Ready", "b": "Ready", "idle": "Cached"})
        now = {name: history(url, name) for name in ("a", "b", "idle")}
        for name, then in before.items():
            assert now[name]["revisions"] == then["revisions"]
            assert now[name]["operations"][:len(then["operations"])] == then["operations"]
            assert (states(url)[name]["last_used"] is None) is (used[name] is None)
        assert all(states(url)[name]["last_used"] >= used[name] - 2.0 for name in ("a", "b"))
        assert [each["what"] for each in now["b"]["operations"]] == ["load", "load"]
        assert [(each["number"], each["text"]) for each in now["a"]["revisions"]] == [
            (1, "created"), (2, "the spec changed")]
        assert complete(url, "a").status_code == 200


def history(url: str, name: str) -> dict[str, Any]:
    answer = httpx.get(f"{url}/models/default/{name}/history")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
