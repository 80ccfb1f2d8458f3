"""Reading the pods' states takes a bounded share of the process, however many pods there are and however large."""

from __future__ import annotations

import asyncio

import pytest

from paddock_operator.pods.thrift import Thrift


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_what_costs_nothing_waits_for_nothing() -> None:
    thrift = Thrift(clock=Clock())
    async with asyncio.timeout(10):
        for _ in range(1000):
            await thrift.turn()
            with thrift.spent():
                pass


async def test_readings_are_so_far_apart_that_they_stay_within_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(), list[float]()

    async def slept(seconds: float) -> None:
        waits.append(seconds)

    thrift = Thrift(share=0.25, clock=clock)
    monkeypatch.setattr(asyncio, "sleep", slept)
    await thrift.turn()
    with thrift.spent():
        clock.now += 0.5
    for _ in range(4):  # all at once, after one reading that took half a second
        await thrift.turn()
    assert waits == [2.0, 4.0, 6.0]
    clock.now += 100.0
    await thrift.turn()
    assert waits == [2.0, 4.0, 6.0], "long ago is over"


async def test_a_reading_that_fails_cost_its_time_too() -> None:
    clock = Clock()
    thrift = Thrift(share=0.5, clock=clock)

    def read() -> None:
        clock.now += 1.0
        raise ValueError("unreadable")

    with pytest.raises(ValueError, match="unreadable"), thrift.spent():
        read()
    await thrift.turn()
    waiting = asyncio.create_task(thrift.turn())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()
