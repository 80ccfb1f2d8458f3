"""Two or more processes and one Lease, with a clock that the test turns."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from paddock_operator.cluster.errors import Conflict, Unavailable
from paddock_operator.election import Leadership, Record, Timing
from paddock_operator.elector import Elector

TIMING = Timing(duration=0.6, renew_deadline=0.35, retry=0.05, margin=0.1)


class Lease:
    """As the API server keeps it: a write with an old version is refused."""

    def __init__(self) -> None:
        self.stored: Record | None = None
        self.holders: list[str] = []
        self.away: set[str] = set()

    def of(self, who: str) -> Port:
        return Port(self, who)


class Port:
    def __init__(self, lease: Lease, who: str) -> None:
        self._lease = lease
        self._who = who

    async def read(self) -> Record | None:
        self._reach()
        return self._lease.stored

    async def write(self, record: Record, *, within: float) -> Record:
        self._reach()
        stored = self._lease.stored
        if (stored.version if stored is not None else None) != record.version:
            raise Conflict(409, "Conflict", "somebody was quicker")
        self._lease.stored = replace(record, version=str(int(record.version or 0) + 1))
        if not self._lease.holders or self._lease.holders[-1] != record.holder:
            self._lease.holders.append(record.holder)
        return self._lease.stored

    def _reach(self) -> None:
        if self._who in self._lease.away:
            raise Unavailable(0, "NoAnswer", "cut off")


class Replica:
    """Notes when its work begins and ends."""

    def __init__(self, lease: Lease, name: str, working: list[str]) -> None:
        self.name = name
        self.working = working
        loop = asyncio.get_running_loop()
        self.leadership = Leadership(TIMING, loop.time)
        self.elector = Elector(lease.of(name), name, TIMING, self.leadership, clock=loop.time)
        self.began = asyncio.Event()
        self.task = asyncio.create_task(self.elector.run(self._work))

    async def _work(self) -> None:
        self.working.append(self.name)
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.working.remove(self.name)
            self.began.clear()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def test_one_works_at_a_time_and_a_clean_end_hands_over_at_once() -> None:
    lease, working = Lease(), list[str]()
    first = Replica(lease, "first", working)
    await asyncio.wait_for(first.began.wait(), 5)
    second = Replica(lease, "second", working)
    await asyncio.sleep(0.3)
    assert working == ["first"]
    await first.stop()
    assert lease.stored is not None
    assert lease.stored.holder == ""
    await asyncio.wait_for(second.began.wait(), TIMING.duration)  # it does not wait for the lease to expire
    assert (working, lease.holders) == (["second"], ["first", "", "second"])
    assert lease.stored.transitions == 1
    await second.stop()


async def test_a_leader_that_is_cut_off_stops_before_the_other_begins() -> None:
    lease, working = Lease(), list[str]()
    first = Replica(lease, "first", working)
    await asyncio.wait_for(first.began.wait(), 5)
    second = Replica(lease, "second", working)
    lease.away.add("first")
    while not second.began.is_set():
        assert working in (["first"], [], ["second"])
        if working == ["second"]:
            assert not first.leadership.holds
        await asyncio.sleep(0.002)
    assert working == ["second"]
    lease.away.clear()
    await asyncio.sleep(0.3)
    assert working == ["second"]  # back, it waits like anybody
    await second.stop()
    await asyncio.wait_for(first.began.wait(), 5)
    await first.stop()


async def test_a_short_outage_ends_nothing() -> None:
    lease, working = Lease(), list[str]()
    first = Replica(lease, "first", working)
    await asyncio.wait_for(first.began.wait(), 5)
    lease.away.add("first")
    await asyncio.sleep(0.1)
    lease.away.clear()
    await asyncio.sleep(TIMING.duration)
    assert working == ["first"]
    assert lease.holders == ["first"]
    await first.stop()


async def test_work_that_breaks_ends_the_process() -> None:
    lease = Lease()
    loop = asyncio.get_running_loop()

    async def broken() -> None:
        raise RuntimeError("a bug")

    elector = Elector(lease.of("me"), "me", TIMING, Leadership(TIMING, loop.time), clock=loop.time)
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(elector.run(broken), 5)
    assert lease.stored is not None
    assert lease.stored.holder == ""
