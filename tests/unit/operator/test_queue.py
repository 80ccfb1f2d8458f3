from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable

import pytest

from paddock_operator.queue import Backoff, KeyedQueue


class Log:
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    def reconciled(self, key: Hashable, outcome: str, seconds: float) -> None:
        self.outcomes[outcome] += 1


class Work:
    """Notes what runs; `gate` holds it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.at_once: Counter[str] = Counter()
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: Counter[str] = Counter()
        self.again: dict[str, float] = {}

    async def __call__(self, key: str) -> float | None:
        self.at_once[key] += 1
        assert self.at_once[key] == 1, "one key, two workers"
        self.most = max(self.most, sum(self.at_once.values()))
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            self.done.append(key)
            if self.failures[key] > 0:
                self.failures[key] -= 1
                raise OSError("not yet")
        finally:
            self.at_once[key] -= 1
        return self.again.pop(key, None)


def queue(work: Work, workers: int = 4, within: float = 5.0, log: Log | None = None) -> KeyedQueue[str]:
    return KeyedQueue(work, workers=workers, within=within, observer=log or Log(),
                      expected=lambda error: isinstance(error, OSError | TimeoutError),
                      backoff=Backoff(base=0.02, most=0.1))


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            if what():
                return
            await asyncio.sleep(0.005)


async def settled(keys: KeyedQueue[str], work: Work) -> None:
    await until(lambda: not keys.waiting and not sum(work.at_once.values()))


async def test_a_key_that_waits_runs_once_one_that_runs_comes_once_more() -> None:
    work = Work()
    keys = queue(work)
    for _ in range(10):
        keys.add("a")
    work.gate.clear()
    running = asyncio.create_task(keys.run())
    await asyncio.sleep(0.05)
    for _ in range(10):
        keys.add("a")
    work.gate.set()
    await settled(keys, work)
    assert work.done == ["a", "a"]
    running.cancel()


async def test_bounded_workers_take_keys_in_their_order() -> None:
    work = Work()
    keys = queue(work, workers=3)
    wanted = [f"k{number:02d}" for number in range(30)]
    for key in wanted:
        keys.add(key)
    running = asyncio.create_task(keys.run())
    await settled(keys, work)
    assert work.done == wanted
    assert work.most == 3
    running.cancel()


async def test_failures_come_back_later_and_later_and_others_go_on() -> None:
    work, log = Work(), Log()
    work.failures["bad"] = 3
    keys = queue(work, log=log)
    keys.add("bad")
    keys.add("good")
    running = asyncio.create_task(keys.run())
    await settled(keys, work)
    assert work.done == ["bad", "good", "bad", "bad", "bad"]
    assert log.outcomes == {"ok": 2, "error": 3}
    running.cancel()


async def test_a_pass_that_asks_for_it_comes_again_and_sooner_news_wins() -> None:
    work = Work()
    work.again["a"] = 0.05
    keys = queue(work)
    running = asyncio.create_task(keys.run())
    keys.add("a")
    keys.add("late", delay=60.0)
    await asyncio.sleep(0.3)
    assert work.done == ["a", "a"]
    keys.add("late")
    await settled(keys, work)
    assert work.done == ["a", "a", "late"]
    running.cancel()


async def test_a_pass_that_hangs_is_cut_and_tried_again() -> None:
    work, log = Work(), Log()
    keys = queue(work, within=0.05, log=log)
    work.gate.clear()
    keys.add("a")
    running = asyncio.create_task(keys.run())
    await until(lambda: log.outcomes["timeout"] >= 2)
    work.gate.set()
    await settled(keys, work)
    assert work.done == ["a"]
    running.cancel()


async def test_what_was_under_way_at_the_end_is_done_in_the_next_run() -> None:
    work = Work()
    keys = queue(work)
    work.gate.clear()
    keys.add("a")
    running = asyncio.create_task(keys.run())
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait({running})
    assert keys.waiting == 1
    work.gate.set()
    running = asyncio.create_task(keys.run())
    await settled(keys, work)
    assert work.done == ["a"]
    running.cancel()


async def test_who_is_woken_and_runs_out_of_patience_at_once_loses_nothing() -> None:
    """Keys come due while others are added, all the time."""
    work = Work()
    keys = queue(work, workers=8)
    running = asyncio.create_task(keys.run())
    for number in range(300):
        keys.add(str(number), 0.01)
        await asyncio.sleep(0.0005)
    await until(lambda: len(work.done) == 300 or running.done())
    assert not running.done()
    assert sorted(map(int, work.done)) == list(range(300))
    running.cancel()
    await asyncio.wait({running})


async def test_a_worker_that_takes_a_key_leaves_the_next_one_to_somebody_else() -> None:
    work = Work()
    keys = queue(work, workers=3)
    running = asyncio.create_task(keys.run())
    await asyncio.sleep(0.01)  # all wait, for nothing yet
    keys.add("first", 0.05)
    keys.add("second", 0.1)
    work.gate.clear()
    await until(lambda: work.at_once["first"] == 1 and work.at_once["second"] == 1)
    work.gate.set()
    await settled(keys, work)
    running.cancel()
    await asyncio.wait({running})


async def test_a_burst_is_what_waits_for_a_worker_or_was_just_taken_up() -> None:
    work = Work()
    work.gate.clear()
    keys = queue(work, workers=1)
    assert not keys.busy(10.0)
    keys.add("later", 60.0)
    assert not keys.busy(10.0), "nobody could work on it now"
    keys.add("now")
    assert keys.busy(0.0)
    running = asyncio.create_task(keys.run())
    await until(lambda: bool(work.at_once["now"]))
    assert keys.busy(10.0)
    assert not keys.busy(0.0), "it is taken up, and may take long"
    keys.add("next")
    assert keys.busy(0.0)
    work.gate.set()
    await until(lambda: work.done == ["now", "next"])
    assert not keys.busy(10.0)
    running.cancel()
    await asyncio.wait({running})


async def test_a_run_that_takes_long_is_seen() -> None:
    work = Work()
    keys = queue(work)
    work.gate.clear()
    keys.add("a")
    running = asyncio.create_task(keys.run())
    await asyncio.sleep(0.1)
    assert 0.05 < keys.longest_run() < 5
    work.gate.set()
    await settled(keys, work)
    assert keys.longest_run() == 0.0
    running.cancel()


def test_backoff_grows_to_its_limit_with_jitter() -> None:
    backoff = Backoff(base=1.0, most=8.0)
    for failures, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (5000, 8.0)):
        found = {backoff.delay(failures) for _ in range(200)}
        assert longest / 2 <= min(found) <= max(found) <= longest
        assert len(found) > 100


@pytest.mark.parametrize("keys", [10_000])
async def test_many_keys_cost_little(keys: int) -> None:
    """Linear: ten thousand keys are nothing to wait for."""
    work = Work()
    found = queue(work, workers=8)
    for number in range(keys):
        found.add(str(number))
    running = asyncio.create_task(found.run())
    await settled(found, work)
    assert len(work.done) == keys
    running.cancel()
