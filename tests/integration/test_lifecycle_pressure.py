"""Memory pressure with real children: the budget is filled by real models, the container's books are files of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx

from paddock_api.state import Phase, Pressure
from paddock_runtime.lifecycle import Limits
from paddock_runtime.lifecycle.pressure import Thresholds
from paddock_runtime.system.container import container_memory
from tests.lifecycle_kit import MIB, Pod, collect, first_text, quick, running, tiny_entry, until
from tests.pod_kit import PodThread, eventually, write_model

Tiny = Callable[[int], Path]
ENGINE = {"contextLength": 512, "cacheTokens": 1024, "parallel": 4}


class Books:
    """The files of a cgroup v2 with a limit of 1000 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "proc" / "self").mkdir(parents=True)
        (folder / "cgroup").mkdir()
        (folder / "proc" / "self" / "cgroup").write_text("0::/\n")
        (folder / "cgroup" / "memory.max").write_text(f"{1000 * MIB}\n")
        self.use(100)

    def use(self, mib: int) -> None:
        current = self.folder / "cgroup" / "new"
        current.write_text(f"{mib * MIB}\n")
        current.rename(self.folder / "cgroup" / "memory.current")

    def read(self) -> object:
        return container_memory(proc=self.folder / "proc", cgroup=self.folder / "cgroup")


def levels(pod: Pod) -> list[tuple[str, str]]:
    return [(event.data["from"], event.data["to"]) for event in pod.events("pressure")]


async def test_models_that_fill_the_budget_are_told_of_and_leave_when_it_is_nearly_full(
        tmp_path: Path, tiny: Tiny) -> None:
    """Real models, loaded until a tenth of the budget is used: high. From a fifth on the idle ones leave."""
    limits = quick(memory_interval=0.1, pressure=Thresholds(high=0.1, critical=0.2, margin=0.02))
    async with running(tmp_path, memory=1000 * MIB, limits=limits) as pod:
        pod.apply(*(tiny_entry(f"m{number}", tiny(number)) for number in range(12)))
        loaded = 0
        while pod.supervisor.pressure() is Pressure.OK:
            assert (await pod.ask(f"m{loaded}")).error is None
            loaded += 1
            await until(lambda: all(engine.measured_bytes is not None for engine in pod.engines))
            await asyncio.sleep(0.3)  # a measurement more, whichever it is
        assert levels(pod) == [("ok", "high")]
        memory = pod.supervisor.state().memory
        assert memory.measured_bytes >= 98 * MIB
        assert len(pod.engines) == loaded, "high only warns, and shrinks caches"
        await until(lambda: all(engine.counters["idle_prefixes"] == 0 for engine in pod.engines), "no idle prefixes")
        busy = pod.submit("m0", tokens=480)
        await first_text(busy)
        while ("high", "critical") not in levels(pod) and loaded < 12:
            assert (await pod.ask(f"m{loaded}")).error is None, "the budget has room: nothing is refused"
            loaded += 1
            await asyncio.sleep(0.3)
        await until(lambda: any(event.data.get("reason") == "pressure" for event in pod.events("phase")))
        assert (await collect(busy)).complete, "who works stays"
        await until(lambda: pod.supervisor.pressure() is not Pressure.CRITICAL)
        assert pod.engines != []


async def test_caches_shrink_then_idle_ones_leave_then_loads_are_refused(tmp_path: Path, tiny: Tiny) -> None:
    """The container itself is short. Nothing is killed; who works goes on; and all is as before when it is over."""
    books = Books(tmp_path / "books")
    async with running(tmp_path, limits=quick(memory_interval=0.2), container=books.read) as pod:
        pod.apply(*(tiny_entry(name, tiny(number), engine={"contextLength": 8000, "cacheTokens": 16384})
                    for number, name in enumerate("abc")))
        prompt = list(range(5, 205))
        assert (await pod.ask("a", prompt)).error is None
        assert (await pod.ask("b", prompt)).error is None
        await until(lambda: all(engine.counters["idle_prefixes"] == 1 for engine in pod.engines))
        books.use(920)
        await until(lambda: pod.supervisor.pressure() is Pressure.HIGH)
        await until(lambda: all(engine.counters["idle_prefixes"] == 0 for engine in pod.engines), "trimmed caches")
        assert len(pod.engines) == 2
        stream = pod.submit("b", tokens=7000)
        await first_text(stream)
        books.use(990)
        await until(lambda: pod.phase("a") is Phase.CACHED, "the idle one has left")
        await until(lambda: pod.supervisor._core.relieving.refuses)
        refused = await pod.ask("c")
        assert refused.code == "memory_pressure"
        assert refused.error is not None
        assert (refused.error.status, refused.error.retry_after) == (503, 5.0)
        assert "the container nearly fills its limit" in refused.error.message
        assert pod.phase("b") is Phase.READY
        await first_text(stream)
        assert pod.events("engine_ended")[-1].data["reason"] == "unloaded"
        books.use(500)
        await until(lambda: pod.supervisor.pressure() is Pressure.OK)
        assert (await pod.ask("c")).error is None
        assert levels(pod) == [("ok", "high"), ("high", "critical"), ("critical", "ok")]
        await stream.aclose()


async def test_a_load_that_waits_when_memory_gets_short_is_served_once_idle_ones_have_made_room(
        tmp_path: Path, tiny: Tiny) -> None:
    books = Books(tmp_path / "books")
    async with running(tmp_path, limits=quick(memory_interval=0.2), container=books.read) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        assert (await pod.ask("a")).error is None
        books.use(990)
        await until(lambda: pod.supervisor.pressure() is Pressure.CRITICAL)
        asking = asyncio.create_task(pod.ask("b"))
        await until(lambda: pod.engines == [], "the idle one has left")
        assert not asking.done(), "it waits while relief is on its way"
        books.use(100)
        assert (await asking).error is None


def test_a_real_server_says_it_in_headers_state_and_metrics(tmp_path: Path, tiny: Tiny) -> None:
    books = Books(tmp_path / "books")
    folder = tmp_path / "models"
    folder.mkdir()
    for name, number in (("a", 0), ("b", 1)):
        write_model(folder, name, tiny(number), engine=ENGINE, loading={"minResidency": "1h"})
    limits = Limits(memory_interval=0.2, tick=0.1)
    with PodThread(folder, tmp_path / "cache", limits=limits, container=books.read) as pod:

        def ask(model: str) -> httpx.Response:
            return httpx.post(f"{pod.url}/v1/completions", timeout=60,
                              json={"model": model, "prompt": "Once", "max_tokens": 2})

        calm = ask("a")
        assert calm.status_code == 200
        assert "paddock-memory-pressure" not in calm.headers
        books.use(920)
        eventually(lambda: pod.state()["memory"]["pressure"] == "high")
        assert ask("a").headers["paddock-memory-pressure"] == "high"
        books.use(990)
        eventually(lambda: pod.state()["memory"]["pressure"] == "critical")
        memory = pod.state()["memory"]
        assert (memory["container_bytes"], memory["limit_bytes"]) == (990 * MIB, 1000 * MIB)
        assert "paddock_memory_pressure 2.0" in httpx.get(f"{pod.url}/metrics").text
        refused = eventually(lambda: (answer := ask("b")).status_code == 503 and answer)
        assert refused.json()["error"]["code"] == "memory_pressure"
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["paddock-memory-pressure"] == "critical"
        warm = ask("a")
        assert (warm.status_code, warm.headers["paddock-memory-pressure"]) == (200, "critical"), "young: it stays"
        books.use(100)
        eventually(lambda: pod.state()["memory"]["pressure"] == "ok")
        assert ask("b").status_code == 200
