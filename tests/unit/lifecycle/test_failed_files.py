"""A failure that lies in a file is looked at again when the file is another one; a disk that hangs harms nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.revision import Resolution, revision_of
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.lifecycle import watcher
from paddock_runtime.lifecycle.core import Core
from paddock_runtime.lifecycle.health import Health
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.signature import signature_of
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.watcher import Watcher
from paddock_runtime.system.clock import Clock
from tests.lifecycle_kit import until


def target_of(source: dict[str, str], *files: Path) -> Target:
    spec = ModelSpec.model_validate({"source": {"file": source}})
    revision = revision_of(spec, Resolution(files=[str(file) for file in files]))
    return Target(model=ModelId("n", "m"), revision=revision, engine_type=LlamaCpp())


@pytest.mark.parametrize("volume", [True, False], ids=["volume", "standalone"])
def test_a_shard_that_is_not_the_first_counts_too(tmp_path: Path, volume: bool) -> None:
    shards = [tmp_path / f"m-{number:05d}-of-00002.gguf" for number in (1, 2)]
    shards[0].write_bytes(b"first")
    target = (target_of({"volume": "v", "path": shards[0].name}, *shards) if volume
              else target_of({"path": str(shards[0])}, shards[0]))
    before = signature_of(target)
    assert signature_of(target) == before
    shards[1].write_bytes(b"second")
    with_second = signature_of(target)
    assert with_second != before
    shards[1].write_bytes(b"mended!")
    assert signature_of(target) != with_second


async def test_a_disk_that_hangs_keeps_nobody_from_watching_the_children(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of({"path": "/hangs"})
    target.fail(PaddockError(Code.SOURCE_NOT_FOUND, "not there"), limits=Limits(), now=0.0)
    asked, released = threading.Event(), threading.Event()

    def hang(_: Target) -> None:
        asked.set()
        released.wait(90)

    monkeypatch.setattr(watcher, "signature_of", hang)
    looks: list[None] = []
    core = cast(Core, SimpleNamespace(
        limits=Limits(tick=0.01), clock=Clock(), failing=[SimpleNamespace(targets=lambda: [target])],
        pool=SimpleNamespace(engines={}), poke=lambda: None, health=Health(), tend_spares=lambda: None,
        refresh=lambda model: None,
        dispatcher=SimpleNamespace(end_stalled=lambda: looks.append(None))))
    watching = Watcher(core, measure=lambda pids: {})
    tasks = [asyncio.create_task(loop()) for loop in (watching.watch_time, watching.watch_files)]
    try:
        await until(asked.is_set)
        seen = len(looks)
        await until(lambda: len(looks) >= seen + 5, "a look at the children")
    finally:
        released.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_threads_that_hang_keep_nobody_from_measuring_the_memory() -> None:
    released = threading.Event()
    measured: list[list[int]] = []

    def measure(pids: Iterable[int]) -> dict[int, int]:
        measured.append(list(pids))
        return {}

    core = cast(Core, SimpleNamespace(
        limits=Limits(), pool=SimpleNamespace(engines={}), memory_bytes=1, dispatcher=SimpleNamespace(running=()),
        spares=SimpleNamespace(pids=[], measured_bytes=0, measure=lambda sizes: None),
        relieving=SimpleNamespace(observe=lambda reading: None),
        usage=SimpleNamespace(sampled=lambda engines, sizes, running: None)))
    with ThreadPoolExecutor(1) as only:
        asyncio.get_running_loop().set_default_executor(only)
        hanging = asyncio.get_running_loop().run_in_executor(None, released.wait, 90)
        try:
            async with asyncio.timeout(10):
                await Watcher(core, measure=measure).sample()
        finally:
            released.set()
            await hanging
    assert measured == [[]]
