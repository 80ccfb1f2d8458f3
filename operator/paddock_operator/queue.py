"""Keys to reconcile: each waits at most once, is worked on by at most one worker, and comes back after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from paddock_operator.clock import Clock, monotonic

K = TypeVar("K", bound=Hashable)

_log = logging.getLogger(__name__)


class QueueObserver(Protocol):
    def reconciled(self, key: Hashable, outcome: str, seconds: float) -> None:
        """`outcome` is ok, error or timeout."""
        ...


class Backoff:
    """Exponential, with jitter: `base`, twice as much, …, at most `most` seconds, each shortened by up to a half."""

    def __init__(self, base: float = 0.5, most: float = 30.0) -> None:
        self._base = base
        self._most = most

    def delay(self, failures: int) -> float:
        """Before the attempt after `failures` ones."""
        longest = min(self._most, self._base * 2.0 ** min(failures - 1, 30))
        return longest * random.uniform(0.5, 1.0)


class KeyedQueue(Generic[K]):
    """`reconcile(key)` returns after how many seconds it wants to be called again, or None.

    Adding a key that waits moves it forward at most; adding one that is worked on runs it once more after that.
    """

    def __init__(self, reconcile: Callable[[K], Awaitable[float | None]], *, workers: int, within: float,
                 observer: QueueObserver, expected: Callable[[BaseException], bool], backoff: Backoff | None = None,
                 clock: Clock = monotonic) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._within = within
        self._observer = observer
        self._expected = expected
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._running: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._idle: deque[asyncio.Future[None]] = deque()

    def add(self, key: K, delay: float = 0.0) -> None:
        due = self._clock() + delay
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        if key not in self._running:
            self._push(due, key)

    @property
    def waiting(self) -> int:
        """Keys that are due now or later."""
        return len(self._due)

    def due(self) -> int:
        """Keys that could be worked on now."""
        now = self._clock()
        return sum(due <= now for due in self._due.values())

    def busy(self, lately: float) -> bool:
        """Whether a key waits for a worker, or was given to one less than `lately` seconds ago."""
        now = self._clock()
        return any(now < since + lately for since in self._running.values()) \
            or any(due <= now for due in self._due.values())

    def longest_run(self) -> float:
        """Seconds that the oldest attempt under way has taken."""
        return max((self._clock() - since for since in self._running.values()), default=0.0)

    async def run(self) -> None:
        """Works until cancelled. What waits is kept for the next run."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._running[key] = self._clock()
            try:
                await self._attempt(key)
            finally:
                del self._running[key]
                if key in self._due:
                    self._push(self._due[key], key)

    async def _attempt(self, key: K) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(self._within):
                again = await self._reconcile(key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the key comes back and the others go on
            self._failed(key, error, self._clock() - began)
        except asyncio.CancelledError:
            self.add(key)  # another term of leadership, or nobody, will finish it
            raise
        else:
            self._failures.pop(key, None)
            self._observer.reconciled(key, "ok", self._clock() - began)
            if again is not None:
                self.add(key, again)

    def _failed(self, key: K, error: Exception, seconds: float) -> None:
        self._failures[key] = failures = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(failures)
        outcome = "timeout" if isinstance(error, TimeoutError) else "error"
        self._observer.reconciled(key, outcome, seconds)
        expected = self._expected(error)
        _log.log(logging.INFO if expected and failures == 1 else logging.WARNING if expected else logging.ERROR,
                 "reconcile failed, again in %.1f s: %s", delay, str(error) or type(error).__name__,
                 exc_info=None if expected else error, extra={"key": str(key), "failures": failures})
        self.add(key, delay)

    async def _next(self) -> K:
        while True:
            now = self._clock()
            while self._heap:
                due, _, key = self._heap[0]
                if self._due.get(key) != due or key in self._running:
                    heapq.heappop(self._heap)  # moved forward, or pushed again when its worker is done
                elif due <= now:
                    heapq.heappop(self._heap)
                    del self._due[key]
                    if self._heap:
                        self._wake_one()  # somebody else looks after what is next
                    return key
                else:
                    break
            await self._pause(self._heap[0][0] - now if self._heap else None)

    async def _pause(self, seconds: float | None) -> None:
        """Until it is woken, at most `seconds`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(woken)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await woken
        if woken in self._idle:
            self._idle.remove(woken)

    def _wake_one(self) -> None:
        """One is enough: who takes a key wakes the next."""
        while self._idle:
            woken = self._idle.popleft()
            if not woken.done():
                woken.set_result(None)
                return

    def _push(self, due: float, key: K) -> None:
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._wake_one()
