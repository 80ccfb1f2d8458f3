"""Many loads leave nothing behind: neither memory, nor descriptors, nor processes, in us or in a child."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from paddock_api.state import Phase
from paddock_runtime.system.memory import pss_bytes
from tests.lifecycle_kit import MIB, Pod, alive, children, descriptors, quick, running, tiny_entry, until

Tiny = Callable[[int], Path]
CHUNKS = 10  # measured after each


def slope(values: Sequence[float]) -> float:
    """Growth by each measurement, of the line that fits best."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in range(len(values)))
    return sum((at - middle) * (value - mean) for at, value in enumerate(values)) / spread


async def repeated(times: int, once: Callable[[int], Awaitable[None]], pid: Callable[[], int]) -> tuple[float, float]:
    """Growth in bytes of `pid`, and of our descriptors, over all of the later half: the first fills caches."""
    sizes, files = [], []
    for number in range(times):
        await once(number)
        if (number + 1) % (times // CHUNKS) == 0:
            sizes.append(float(pss_bytes(pid()) or 0))
            files.append(float(descriptors()))
    half = CHUNKS // 2
    return slope(sizes[half:]) * half, slope(files[half:]) * half


@pytest.mark.parametrize("times", [30, pytest.param(300, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("spare_idle", [0.0, 3600.0], ids=["fresh", "spare"])
async def test_process_loads(tmp_path: Path, tiny: Tiny, times: int, spare_idle: float) -> None:
    """Each starts a child, loads, serves and ends it again."""
    async with running(tmp_path, limits=quick(spare_idle=spare_idle, tick=0.05)) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        seen: set[int] = set()

        async def once(number: int) -> None:
            assert (await pod.ask("a", tokens=1)).complete
            seen.update(pod.pids)
            await pod.supervisor.unload(next(iter(pod.supervisor._registry.models)))
            await until(lambda: pod.engines == [])

        bytes_, files = await repeated(times, once, _ourselves)
        assert len(seen) == times, "each load had a child of its own"
        await until(lambda: [pid for pid in seen if alive(pid)] == [])
        assert len(children()) <= 1, "the spare one"
        assert files <= 2
        assert bytes_ < 8 * MIB
        await until(lambda: not pod.supervisor._core.pool._closing)
        assert len(asyncio.all_tasks()) < 12


@pytest.mark.parametrize("times", [500, pytest.param(10_000, marks=pytest.mark.nightly)])
async def test_context_loads(tmp_path: Path, tiny: Tiny, times: int) -> None:
    """A second context in a child whose first stays: opened, used and closed, again and again."""
    small = {"contextLength": 256, "cacheTokens": 256, "parallel": 1}
    async with running(tmp_path, limits=quick(tick=0.05)) as pod:
        pod.apply(tiny_entry("stays", tiny(0), loading={"idleTimeout": "12h"}),
                  tiny_entry("comes", tiny(0), engine=small))
        assert (await pod.ask("stays", tokens=1)).complete
        child = pod.pids[0]
        comes = next(each for each in pod.supervisor._registry.models if each.name == "comes")

        async def once(number: int) -> None:
            assert (await pod.ask("comes", tokens=1)).complete
            await pod.supervisor.unload(comes)
            await until(lambda: pod.phase("comes") is Phase.CACHED)

        bytes_, files = await repeated(times, once, lambda: child)
        assert pod.pids == [child]
        assert _loads(pod) == times
        assert files <= 1
        assert bytes_ < 8 * MIB, "32 KiB that a context leaves behind would show"


def _loads(pod: Pod) -> int:
    return pod.model("comes").loads


def _ourselves() -> int:
    return os.getpid()
