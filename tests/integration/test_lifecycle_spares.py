"""The spare child: a load uses it, its death fails nobody, and it is in nobody's way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from paddock_api.state import Phase, Pressure
from paddock_runtime.lifecycle import Backoff, Limits
from paddock_runtime.lifecycle.spares import keeps
from paddock_runtime.system.container import ContainerMemory
from tests.lifecycle_kit import MIB, Faulty, Pod, alive, children, descriptors, quick, running, tiny_entry, until

Tiny = Callable[[int], Path]


def limits(**changes: object) -> Limits:
    return quick(**{"spare_idle": 3600.0, "memory_interval": 0.2, "tick": 0.1, **changes})


async def spare_of(pod: Pod) -> int:
    """Its pid, once it waits for a load."""
    spares = pod.supervisor._core.spares
    await until(lambda: any(spare.usable for spare in spares._spares.values()), "a spare that is ready")
    return spares.pids[0]


def test_who_keeps_a_spare() -> None:
    some = Limits(spare_idle=10.0)
    assert keeps(9.0, 0.0, some, room=64, size=64, calm=True)
    assert not keeps(10.0, 0.0, some, room=64, size=64, calm=True), "nobody asked for too long"
    assert not keeps(9.0, 0.0, some, room=63, size=64, calm=True), "others are charged for the room"
    assert not keeps(9.0, 0.0, some, room=64, size=64, calm=False), "memory is short"


async def test_a_load_takes_the_spare_and_another_one_comes(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=limits()) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        first = await spare_of(pod)
        assert pod.pids == []
        assert (await pod.ask("a")).error is None
        assert pod.pids == [first]
        assert [event.data["pid"] for event in pod.events("engine_started")] == [first]
        second = await spare_of(pod)
        assert second != first
        assert (await pod.ask("b")).error is None
        assert set(pod.pids) == {first, second}
        third = await spare_of(pod)
        assert children() == {first, second, third}
        before = descriptors()
    assert children() == set()
    assert descriptors() < before
    assert not alive(third)


async def test_its_memory_is_charged(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=limits()) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        await spare_of(pod)
        await until(lambda: 4 * MIB < pod.supervisor.state().memory.measured_bytes < 64 * MIB, "its measured size")
        memory = pod.supervisor.state().memory
        assert memory.charged_bytes == memory.measured_bytes


async def test_a_killed_spare_fails_no_load(tmp_path: Path, tiny: Tiny) -> None:
    """Killed while idle, and in the moment when it is taken: each time the load has another child."""
    async with running(tmp_path, limits=limits(spare_backoff=Backoff(first=0.2, most=1.0))) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        first = await spare_of(pod)
        os.kill(first, signal.SIGKILL)
        await until(lambda: first not in pod.supervisor._core.spares.pids)
        assert (await pod.ask("a")).error is None
        second = await spare_of(pod)
        os.kill(second, signal.SIGSTOP)  # it will not hear of its load before it dies
        asking = asyncio.create_task(pod.ask("b"))
        await until(lambda: second in pod.pids, "the load has taken it")
        os.kill(second, signal.SIGKILL)
        assert (await asking).error is None
        assert second not in pod.pids
        assert pod.model("b").failure is None
        assert [event.data["reason"] for event in pod.events("engine_ended")] == ["spare"]


async def test_one_that_can_not_start_is_tried_again_later_and_loads_do_without(tmp_path: Path, tiny: Tiny) -> None:
    class Alone(Faulty):
        """Only every second child starts."""

        calls = 0

        def command(self, fd: int) -> Sequence[str]:
            type(self).calls += 1
            return ["/nowhere/engine"] if self.calls % 2 else super().command(fd)

    async with running(tmp_path, types=[Alone()], limits=limits(spare_backoff=Backoff(first=600.0, most=600.0))) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        await until(lambda: Alone.calls == 1)
        assert (await pod.ask("a")).error is None
        assert Alone.calls == 2
        await until(lambda: pod.phase("a") is Phase.READY)
        assert pod.supervisor._core.spares.pids == []


async def test_an_idle_spare_ends(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=limits(spare_idle=1.5)) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        await until(lambda: children() != set())
        await until(lambda: children() == set(), "its end")
        assert (await pod.ask("a")).error is None
        await until(lambda: len(children()) == 2, "a new one after use")


async def test_it_leaves_when_the_budget_is_needed_or_memory_is_short(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=limits()) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        assert (await pod.ask("a")).error is None
        spare = await spare_of(pod)
        pod.supervisor._core.memory_bytes = pod.engines[0].charged_bytes + 1
        await until(lambda: not alive(spare), "its end for the room")
    reading = ContainerMemory(used_bytes=1, limit_bytes=100)
    async with running(tmp_path, limits=limits(), container=lambda: reading) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        spare = await spare_of(pod)
        reading = ContainerMemory(used_bytes=92, limit_bytes=100)
        await until(lambda: not alive(spare), "its end for the pressure")
        reading = ContainerMemory(used_bytes=1, limit_bytes=100)
        await until(lambda: pod.supervisor.pressure() is Pressure.OK)
        assert (await pod.ask("a")).error is None
        assert children() == set(pod.pids), "not at once again: it may be what made memory short"
