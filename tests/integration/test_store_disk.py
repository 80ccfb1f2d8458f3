"""Fault 6: a disk that is full before, or in the middle; on a real small file system where we may mount one."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.source import Source
from paddock_runtime.store import FileStore
from tests.hub import Behaviour, Hub
from tests.hub.kit import http, ignore, noise, store_for

DATA = noise(6_000_000)
SMALL = 4 << 20


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub() as hub:
        yield hub


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """4 MiB: a tmpfs, or where mounting is not allowed a `pwrite` that says ENOSPC and a `statvfs` that agrees."""
    root = tmp_path / "small"
    root.mkdir()
    mount = shutil.which("mount")
    if mount and os.geteuid() == 0 and subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(root)], check=False, capture_output=True
    ).returncode == 0:
        yield root
        subprocess.run(["umount", "-l", str(root)], check=True)
        return
    _pretend(root, monkeypatch)
    yield root


def _pretend(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, stat = os.pwrite, os.statvfs

    def used() -> int:
        return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())

    def pwrite(descriptor: int, data: bytes | memoryview, offset: int) -> int:
        inside = Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(root)
        room = SMALL - used() if inside else len(data)
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:room], offset)

    def statvfs(path: str | Path) -> os.statvfs_result:
        if Path(path) != root:
            return stat(path)
        values = list(stat(path))
        values[1], values[4] = 1, max(0, SMALL - used())  # f_frsize, f_bavail
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "statvfs", statvfs)


@pytest.fixture(params=["real", "pretended"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both ways where both are possible: so the pretended one is known to be like the real one."""
    if request.param == "real":
        found: Path = request.getfixturevalue("small_disk")
        return found
    root = tmp_path / "pretended"
    root.mkdir()
    _pretend(root, monkeypatch)
    return root


async def failure(store: FileStore, source: Source) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        await store.ensure(source, progress=ignore)
    return caught.value


async def test_what_cannot_fit_is_refused_before_a_byte_is_written(hub: Hub, disk: Path) -> None:
    sha256 = hub.add("/f", DATA)
    error = await failure(store_for(hub, disk), http(hub, "/f", sha256))
    assert error.code == Code.DISK_FULL
    assert not error.permanent
    assert "MiB" in error.message
    assert (disk / "partial" / sha256).stat().st_size == 0
    assert len(hub.seen) == 1


async def test_the_reserve_stays_free(hub: Hub, disk: Path) -> None:
    source = http(hub, "/f", hub.add("/f", DATA[:3_000_000]))
    assert (await failure(store_for(hub, disk, reserve_bytes=2 << 20), source)).code == Code.DISK_FULL
    assert (await store_for(hub, disk, reserve_bytes=1 << 19).ensure(source, progress=ignore)).size == 3_000_000


async def test_full_in_the_middle_keeps_what_was_fetched(hub: Hub, disk: Path) -> None:
    """The server does not say how much is coming, so nothing can be checked before."""
    sha256 = hub.add("/f", DATA)
    kept = await store_for(hub, disk).ensure(http(hub, "/good", hub.add("/good", b"g" * 1000)), progress=ignore)
    hub.next("/f", Behaviour(framing="chunked"))
    store = store_for(hub, disk)
    error = await failure(store, http(hub, "/f", sha256))
    assert error.code == Code.DISK_FULL
    partial = disk / "partial" / sha256
    length = partial.stat().st_size
    assert length > 2 << 20
    assert partial.read_bytes() == DATA[:length]
    store.verify(kept)
    # Room is made: the rest comes by range.
    larger = disk.parent / "larger"
    shutil.copytree(disk, larger)
    await store_for(hub, larger).ensure(http(hub, "/f", sha256), progress=ignore)
    assert hub.seen[-1].headers["range"] == f"bytes={length}-"


async def test_room_that_others_take_meanwhile_is_noticed(hub: Hub, disk: Path) -> None:
    """The disk is not full then, but the reserve is touched: others need it."""
    sha256 = hub.add("/f", DATA[:2_500_000])
    hub.next("/f", Behaviour(rate=4_000_000))

    def grab(fraction: float | None) -> None:
        if fraction and fraction > 0.3:
            (disk / "other").write_bytes(b"o" * 1_000_000)

    store = store_for(hub, disk, reserve_bytes=1 << 20)
    with pytest.raises(PaddockError) as caught:
        await store.ensure(http(hub, "/f", sha256), progress=grab)
    assert caught.value.code == Code.DISK_FULL
    (disk / "other").unlink()
    assert (await store.ensure(http(hub, "/f", sha256), progress=ignore)).size == 2_500_000


async def test_two_downloads_are_not_promised_the_same_room(hub: Hub, disk: Path) -> None:
    first = http(hub, "/a", hub.add("/a", DATA[:2_500_000]))
    second = http(hub, "/b", hub.add("/b", DATA[1:2_500_001]))
    hub.always("/a", Behaviour(rate=5_000_000))
    store = store_for(hub, disk)
    refused: list[PaddockError] = []

    async def other() -> None:
        await hub.until("/a", 1)
        refused.append(await failure(store, second))

    async with asyncio.TaskGroup() as group:
        group.create_task(other())
        assert (await store.ensure(first, progress=ignore)).size == 2_500_000
    assert refused[0].code == Code.DISK_FULL
    assert "promised" in refused[0].message
