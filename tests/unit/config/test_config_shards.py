"""The pool's configuration from a projected volume: complete sets only, the last good one else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from paddock_api.model import ModelSpec
from paddock_api.pool import PoolConfig, PoolEntry, config_hash
from paddock_api.revision import Resolution, revision_of
from paddock_api.shards import COUNT, file_name, shard_of
from paddock_runtime.config import ShardSource, Snapshot
from paddock_runtime.config import folder as folder_module
from tests.projected import ProjectedVolume, pool_config, shard_files

DEADLINE = 20.0
NAMES = [f"m{number}" for number in range(40)]


def entry(name: str, file: str) -> PoolEntry:
    spec = ModelSpec.model_validate({"source": {"file": {"volume": "v", "path": file}}})
    return PoolEntry(namespace="ns", name=name, desired=revision_of(spec, Resolution(files=[f"/volumes/v/{file}"])))


def config(generation: int, file: str = "a.gguf") -> PoolConfig:
    """Forty Models: some in nearly every shard."""
    return pool_config(generation, [entry(name, file) for name in NAMES])


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def volume(tmp_path: Path) -> ProjectedVolume:
    return ProjectedVolume(tmp_path / "pool")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(volume: ProjectedVolume, clock: Clock) -> ShardSource:
    return ShardSource(volume.folder, patience=60, clock=clock)


def test_a_complete_set_is_taken(volume: ProjectedVolume, source: ShardSource) -> None:
    volume.swap(shard_files(config(7)))
    snapshot = source.read()
    assert (snapshot.config, snapshot.errors) == (config(7), ())
    assert snapshot.hash == config_hash(config(7))


def test_an_empty_volume_is_no_error_until_patience_ends(source: ShardSource, clock: Clock) -> None:
    assert (source.read().config.generation, source.read().error) == (0, None)
    clock.now += 60
    error = source.read().error
    assert error is not None
    assert "no shard" in error
    assert "operator" in error


def test_a_mix_of_generations_waits_then_is_said_and_never_used(
    volume: ProjectedVolume, source: ShardSource, clock: Clock
) -> None:
    volume.swap(shard_files(config(1)))
    source.read()
    new = shard_files(config(2, "b.gguf"))
    for count in range(1, COUNT):  # kubelet saw so many of the new ConfigMaps
        mixed = shard_files(config(1)) | {file_name(index): new[file_name(index)] for index in range(count)}
        volume.swap(mixed)
        snapshot = source.read()
        assert (snapshot.config, snapshot.error) == (config(1), None)
    clock.now += 61
    late = source.read()
    assert late.config == config(1)
    assert late.error is not None
    assert "generations 1, 2" in late.error
    volume.swap(new)
    assert (source.read().config, source.read().error) == (config(2, "b.gguf"), None)


def test_missing_shards_keep_the_last_good(volume: ProjectedVolume, source: ShardSource, clock: Clock) -> None:
    volume.swap(shard_files(config(1)))
    source.read()
    partial = shard_files(config(2, "b.gguf"))
    del partial[file_name(5)]
    volume.swap(partial)
    assert source.read().config == config(1)
    clock.now += 61
    assert "5" in str(source.read().error)


@pytest.mark.parametrize(("damage", "word"), [
    (lambda data: data[:-9], "cut off"),
    (lambda data: b"not gzip at all", "shard 3"),
    (lambda data: data[:40] + bytes([data[40] ^ 0xFF]) + data[41:], "shard 3"),
])
def test_a_damaged_shard_is_an_error_at_once(
    volume: ProjectedVolume, source: ShardSource, damage: object, word: str
) -> None:
    volume.swap(shard_files(config(1)))
    source.read()
    files = shard_files(config(2))
    assert callable(damage)
    files[file_name(3)] = damage(files[file_name(3)])
    volume.swap(files)
    snapshot = source.read()
    assert snapshot.config == config(1)
    assert word in str(snapshot.error)
    volume.swap(shard_files(config(3)))
    assert (source.read().config, source.read().error) == (config(3), None)


def test_a_set_swapped_while_it_is_read_is_never_mixed(
    volume: ProjectedVolume, source: ShardSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubelet renames `..data` between the reading of two shards, and removes the old files."""
    volume.swap(shard_files(config(1)))
    content = folder_module._content
    swapped: list[str] = []

    def swap_between(path: Path, max_bytes: int) -> bytes:
        if path.name == file_name(8) and not swapped:
            swapped.append("yes")
            volume.swap(shard_files(config(2, "b.gguf")))
        return content(path, max_bytes)

    monkeypatch.setattr(folder_module, "_content", swap_between)
    assert (source.read().config, swapped) == (config(2, "b.gguf"), ["yes"])


def test_strangers_in_the_folder_are_not_read(volume: ProjectedVolume, source: ShardSource) -> None:
    volume.swap(shard_files(config(1)) | {"shard-99.json.gz": b"x", "notes.txt": b"x"})
    assert (source.read().config, source.read().error) == (config(1), None)


def test_no_folder_is_said(tmp_path: Path) -> None:
    assert "can't be read" in str(ShardSource(tmp_path / "nowhere").read().error)


async def test_a_swap_is_followed_and_an_equal_set_is_not(volume: ProjectedVolume) -> None:
    source = ShardSource(volume.folder)
    volume.swap(shard_files(config(1)))
    source.read()
    watch = source.watch()
    assert isinstance(watch, AsyncGenerator)
    async with aclosing(watch):
        coming = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.2)
        volume.swap(shard_files(config(1)))  # kubelet's resync writes the same again
        volume.swap(shard_files(config(2)))
        seen: Snapshot = await asyncio.wait_for(coming, DEADLINE)
        assert seen.config == config(2)


async def test_patience_ends_without_any_event(volume: ProjectedVolume) -> None:
    source = ShardSource(volume.folder, patience=1.5)
    volume.swap({file_name(0): shard_files(config(1))[file_name(0)]})
    source.read()
    watch = source.watch()
    assert isinstance(watch, AsyncGenerator)
    async with aclosing(watch):
        seen: Snapshot = await asyncio.wait_for(anext(watch), DEADLINE)
        assert "missing" in str(seen.error)


def test_the_forty_models_are_spread() -> None:
    """Else the tests above would prove little."""
    assert len({shard_of(f"ns/{name}") for name in NAMES}) > COUNT // 2
