"""One budget for all requests to one endpoint: so many at once, and none while its quota is used up."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from paddock_operator.hub.errors import RateLimited, Unavailable
from paddock_operator.hub.limits import pause
from paddock_operator.hub.urls import Origin

_MOST_ENDPOINTS = 512


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """`at_once`: requests under way; `waiting`: how many more may wait for their turn, and for how many seconds."""

    at_once: int = 4
    waiting: int = 1024
    patience: float = 120.0


class Budget:
    """Of one endpoint. Quotas are kept apart by bucket, as the hub counts API calls and files."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float]) -> None:
        self._allowance = allowance
        self._clock = clock
        self._slots = asyncio.Semaphore(allowance.at_once)
        self._users = 0
        self._closed: dict[str, float] = {}

    @asynccontextmanager
    async def turn(self, bucket: str, where: str) -> AsyncIterator[None]:
        """One request's place. Raises RateLimited and Unavailable, at once when waiting makes no sense."""
        self._check(bucket, where)
        if self._users >= self._allowance.at_once + self._allowance.waiting:
            raise Unavailable(f"too many requests wait for {where}; it is asked again later")
        self._users += 1
        try:
            try:
                async with asyncio.timeout(self._allowance.patience):
                    await self._slots.acquire()
            except TimeoutError:
                raise Unavailable(f"{where} is busy with other requests from here; it is asked again later") from None
            try:
                self._check(bucket, where)
                yield
            finally:
                self._slots.release()
        finally:
            self._users -= 1

    def heed(self, bucket: str, status: int, headers: Mapping[str, str]) -> None:
        """Take in what an answer says of the quota."""
        seconds = pause(status, headers, time.time())
        if seconds is not None:
            self._closed[bucket] = max(self._closed.get(bucket, 0.0), self._clock() + seconds)

    def left(self, bucket: str) -> float:
        """Seconds until the bucket may be asked again, 0 if it may be now."""
        return max(0.0, self._closed.get(bucket, 0.0) - self._clock())

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting this budget."""
        return not self._users and all(until <= self._clock() for until in self._closed.values())

    def _check(self, bucket: str, where: str) -> None:
        if (left := self.left(bucket)) > 0:
            raise RateLimited(f"{where} has limited the requests from here; it is asked again in {math.ceil(left)} s",
                              retry_after=left)


class Budgets:
    """The budgets of all endpoints that were asked lately."""

    def __init__(self, allowance: Allowance | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowance = allowance or Allowance()
        self._clock = clock
        self._budgets: dict[Origin, Budget] = {}

    def of(self, origin: Origin) -> Budget:
        budget = self._budgets.get(origin)
        if budget is None:
            if len(self._budgets) >= _MOST_ENDPOINTS:
                self._budgets = {known: kept for known, kept in self._budgets.items() if not kept.idle}
            budget = self._budgets[origin] = Budget(self._allowance, self._clock)
        return budget
