"""A Lease that somebody deletes: nobody leads by it any more, and nobody makes it anew at once."""

from __future__ import annotations

import asyncio

from tests.unit.operator.test_elector import TIMING, Lease, Replica


async def somebody_works(*replicas: Replica) -> None:
    waits = [asyncio.ensure_future(each.began.wait()) for each in replicas]
    done, others = await asyncio.wait(waits, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    for each in others:
        each.cancel()
    assert done


def take_away(lease: Lease) -> None:
    lease.stored = None


async def test_a_lease_that_was_taken_away_is_not_made_anew_before_it_would_have_expired() -> None:
    lease, working = Lease(), list[str]()
    first = Replica(lease, "first", working)
    await asyncio.wait_for(first.began.wait(), 5)
    second = Replica(lease, "second", working)
    await asyncio.sleep(3 * TIMING.retry)
    take_away(lease)
    taken = asyncio.get_running_loop().time()
    while working:
        assert not lease.stored
        await asyncio.sleep(0.002)
    while lease.stored is None:
        assert working == []
        await asyncio.sleep(0.002)
    assert asyncio.get_running_loop().time() - taken > TIMING.duration
    await somebody_works(first, second)
    assert len(working) == 1
    for replica in (first, second):
        await replica.stop()


async def test_who_is_stopped_after_the_lease_went_leaves_none_behind() -> None:
    lease, working = Lease(), list[str]()
    first, second = Replica(lease, "first", working), Replica(lease, "second", working)
    await somebody_works(first, second)
    await asyncio.sleep(3 * TIMING.retry)
    take_away(lease)
    await asyncio.sleep(3 * TIMING.retry)
    for replica in (first, second):
        await replica.stop()
    assert lease.stored is None
