"""A pod that follows its configuration goes on following it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from paddock_api.pool import PoolConfig
from paddock_runtime.config import Snapshot
from paddock_runtime.config.snapshot import NOTHING, make_snapshot
from paddock_runtime.lifecycle import Supervisor
from paddock_runtime.server import pod

NEXT = PoolConfig(generation=2, models={})


class Unlucky:
    """A source whose first look ends in what nobody foresaw."""

    def __init__(self) -> None:
        self.looks = 0

    def read(self) -> Snapshot:
        return make_snapshot(NOTHING)

    async def watch(self) -> AsyncIterator[Snapshot]:
        self.looks += 1
        if self.looks == 1:
            raise RuntimeError("secret internals")
        yield make_snapshot(NEXT)
        await asyncio.Event().wait()


class Listener:
    generation = 1

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.applied: asyncio.Queue[PoolConfig] = asyncio.Queue()

    def reject(self, generation: int, message: str) -> None:
        self.errors.append(message)

    def apply(self, config: PoolConfig) -> None:
        self.applied.put_nowait(config)


async def test_a_mistake_is_said_and_the_next_configuration_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod, "_FOLLOW_AGAIN", 0.01)
    listener = Listener()
    following = asyncio.create_task(pod._follow(Unlucky(), cast(Supervisor, listener)))
    try:
        async with asyncio.timeout(30):
            assert await listener.applied.get() == NEXT
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert listener.errors == ["it could not be followed: RuntimeError; the log says more"]
