"""Runs one piece of work in at most one process at a time, by a Lease."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from paddock_operator.clock import Clock, monotonic
from paddock_operator.cluster.errors import AlreadyExists, ApiError, Conflict
from paddock_operator.election import Leadership, Record, Seen, Timing, released, see, wanted

_JITTER = 0.2
_log = logging.getLogger(__name__)


class LeasePort(Protocol):
    async def read(self) -> Record | None: ...

    async def write(self, record: Record, *, within: float) -> Record: ...


class Elector:
    def __init__(self, lease: LeasePort, identity: str, timing: Timing, leadership: Leadership, *,
                 clock: Clock = monotonic, wall: Callable[[], float] = time.time) -> None:
        self._lease = lease
        self._identity = identity
        self._timing = timing
        self._leadership = leadership
        self._clock = clock
        self._wall = wall
        self._seen: Seen | None = None
        self._there = False
        self._gone: float | None = None

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Waits to lead, works until leadership is lost, and again. On cancellation the work ends first, then the lease
        is given away. An exception of `work` ends it all."""
        while True:
            await self._acquire()
            _log.info("this process leads", extra={"identity": self._identity})
            working = asyncio.ensure_future(work())
            try:
                await self._hold(working)
            finally:
                await _ended(working)
                await self._release()
            _log.warning("this process does not lead any more", extra={"identity": self._identity})

    async def _acquire(self) -> None:
        while True:
            if await self._try():
                return
            await asyncio.sleep(self._timing.retry * (1 + random.uniform(0, _JITTER)))

    async def _hold(self, working: asyncio.Future[None]) -> None:
        """Renews until that fails for too long. Returns then; raises what the work raises."""
        while self._leadership.holds:
            pause = min(self._timing.retry, self._leadership.remaining)
            await asyncio.wait({working}, timeout=pause)
            if working.done():
                await working
                raise RuntimeError("the leader's work ended by itself")
            if self._leadership.holds:
                await self._try()

    async def _try(self) -> bool:
        """One attempt to lead or to go on leading; short enough that another one fits before the deadline."""
        timeout = self._timing.renew_deadline / 2
        try:
            async with asyncio.timeout(timeout):
                return await self._step(timeout)
        except (Conflict, AlreadyExists):
            self._forget()  # somebody wrote it meanwhile: the next attempt reads
        except (ApiError, TimeoutError) as error:
            _log.warning("the lease can't be read or written: %s", error)
            self._forget()
        return False

    async def _step(self, within: float) -> bool:
        if not self._leadership.holds or self._seen is None:
            found = await self._lease.read()
            if not self._may_make_one(found, self._clock()):
                self._leadership.lost()
                return False
            self._seen = None if found is None else see(self._seen, found, self._clock())
        began = self._clock()
        record = wanted(self._identity, self._seen, began, self._wall(), self._timing)
        if record is None:
            self._leadership.lost()
            return False
        stored = await self._lease.write(record, within=within)
        self._seen = Seen(stored, began)
        self._there = True
        self._leadership.renewed(began)
        return True

    def _may_make_one(self, found: Record | None, now: float) -> bool:
        """A Lease that somebody took away counts as held for as long as it would have lasted: another process may still
        lead by it, and after an uninstall nobody is to make it anew."""
        if found is not None:
            self._there, self._gone = True, None
        elif self._there:
            self._gone = now if self._gone is None else self._gone
            return now >= self._gone + self._timing.duration
        return True

    def _forget(self) -> None:
        """What is stored is not known. A leader reads it anew; a follower goes on counting from what it saw."""
        if self._leadership.holds:
            self._seen = None

    async def _release(self) -> None:
        if self._leadership.holds and self._seen is not None:
            try:
                await self._lease.write(released(self._seen.record, self._wall()), within=self._timing.retry)
            except ApiError as error:
                _log.warning("the lease was not released, others wait until it expires: %s", error)
        self._leadership.lost()


async def _ended(working: asyncio.Future[None]) -> None:
    working.cancel()
    await asyncio.wait({working})
