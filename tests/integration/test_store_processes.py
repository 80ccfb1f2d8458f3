"""Several processes on one store: killed ones, and ones at the same time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store import FileStore
from paddock_runtime.store.locks import exclusive
from tests.hub import Behaviour, Hub
from tests.hub.kit import QUICK, http, ignore, noise, store_for

ROOT = Path(__file__).parents[2]
DATA = noise(12_000_000)
DEADLINE = 60.0
# What a killed process may have fetched and not kept: our block, httpx's and the sockets' buffers.
LOST_A_KILL = 4 << 20


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub() as hub:
        yield hub


async def fetcher(hub: Hub, cache: Path, sha256: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": ":".join(str(ROOT / part) for part in ("api", "runtime", "."))}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.hub.fetch", str(cache), hub.url("/f"), sha256, env=environment, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE)


async def outcome(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(DEADLINE):
        out, _ = await process.communicate()
    return out.decode().strip()


async def test_killed_again_and_again_it_is_whole_in_the_end(hub: Hub, tmp_path: Path) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(rate=20_000_000))
    for part in (1, 2, 3):
        process = await fetcher(hub, tmp_path, sha256)
        async with asyncio.timeout(DEADLINE):
            await hub.until("/f", part * 3_000_000)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert not (tmp_path / "blobs" / sha256).exists()
        assert len(hub.seen) == part  # each process asked once, and was killed in the middle of the answer
    kept = (tmp_path / "partial" / sha256).stat().st_size
    assert await outcome(await fetcher(hub, tmp_path, sha256)) == f"{sha256} {len(DATA)}"
    assert hub.seen[-1].headers["range"] == f"bytes={kept}-"
    assert "if-range" in hub.seen[-1].headers
    assert hub.sent("/f") - len(DATA) <= 3 * LOST_A_KILL
    assert (tmp_path / "blobs" / sha256).read_bytes() == DATA


async def test_two_processes_fetch_once(hub: Hub, tmp_path: Path) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(rate=20_000_000))
    processes = [await fetcher(hub, tmp_path, sha256) for _ in range(3)]
    assert await asyncio.gather(*map(outcome, processes)) == [f"{sha256} {len(DATA)}"] * 3
    assert len(hub.seen) == 1
    assert hub.sent("/f") == len(DATA)


async def test_one_takes_over_when_the_other_is_killed(hub: Hub, tmp_path: Path) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(rate=20_000_000))
    first = await fetcher(hub, tmp_path, sha256)
    async with asyncio.timeout(DEADLINE):
        await hub.until("/f", 3_000_000)
    second = asyncio.ensure_future(store_for(hub, tmp_path).ensure(http(hub, "/f", sha256), progress=ignore))
    await asyncio.sleep(0.3)
    assert len(hub.seen) == 1  # it waits for the lock
    first.kill()
    await first.wait()
    async with asyncio.timeout(DEADLINE):
        assert (await second).size == len(DATA)
    assert len(hub.seen) == 2
    assert hub.sent("/f") - len(DATA) <= LOST_A_KILL


async def test_a_frozen_process_is_not_waited_for_for_ever(hub: Hub, tmp_path: Path) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(rate=5_000_000))
    other = await fetcher(hub, tmp_path, sha256)
    async with asyncio.timeout(DEADLINE):
        await hub.until("/f", 2_000_000)
    other.send_signal(signal.SIGSTOP)
    store = FileStore(tmp_path, allow_hosts=frozenset({hub.host}), retries=QUICK, reserve_bytes=0, lock_seconds=0.5)
    with pytest.raises(PaddockError) as caught:
        await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert caught.value.code == Code.SOURCE_UNAVAILABLE
    other.kill()
    await other.wait()


async def test_a_lock_holder_that_makes_progress_is_waited_for(tmp_path: Path) -> None:
    """Progress shows in the partial's size: patience starts anew with each sign of life."""
    signs = iter(range(1000))
    async with exclusive(tmp_path / "lock", patience=1.0, sign_of_life=lambda: None):
        waiting = asyncio.ensure_future(_hold(tmp_path / "lock", signs))
        await asyncio.sleep(1.5)
        assert not waiting.done()
    async with asyncio.timeout(DEADLINE):
        assert await waiting == "held"


async def _hold(path: Path, signs: Iterator[int]) -> str:
    async with exclusive(path, patience=0.5, sign_of_life=lambda: next(signs)):
        return "held"
