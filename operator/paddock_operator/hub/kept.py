"""What was asked for lately: kept up to a bound, and asked once by all who want it at the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(eq=False)
class _Flight(Generic[_T]):
    task: asyncio.Task[_T]
    waiting: int = 0


class Flights(Generic[_T]):
    """Work by key; only for one event loop. It is cancelled with the last who waits for it."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[_T]] = {}

    async def join(self, key: Hashable, work: Callable[[], Awaitable[_T]]) -> _T:
        """The result of `work`, which runs once for all who join while it runs; so do its errors."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(_run(work)))
            flight.task.add_done_callback(partial(self._done, key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._leave(key, flight)
                flight.task.cancel()

    def _done(self, key: Hashable, flight: _Flight[_T], task: asyncio.Task[_T]) -> None:
        self._leave(key, flight)
        if not task.cancelled():
            task.exception()  # perhaps nobody is left to hear of it

    def _leave(self, key: Hashable, flight: _Flight[_T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class Kept(Generic[_T]):
    """Results by key, the least recently used forgotten first. `weigh` gives an entry's size in bytes, about."""

    def __init__(self, *, most_bytes: int, weigh: Callable[[_T], int]) -> None:
        self._most = most_bytes
        self._weigh = weigh
        self._entries: OrderedDict[Hashable, tuple[_T, int]] = OrderedDict()
        self._total = 0
        self._flights: Flights[_T] = Flights()

    async def get(self, key: Hashable, work: Callable[[], Awaitable[_T]]) -> _T:
        """What is kept under the key; else the result of `work`. Errors are not kept."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            return entry[0]

        async def fetch() -> _T:
            result = await work()
            self._keep(key, result)
            return result

        return await self._flights.join(key, fetch)

    def _keep(self, key: Hashable, result: _T) -> None:
        weight = self._weigh(result)
        if weight > self._most:
            return
        self._entries[key] = (result, weight)
        self._total += weight
        while self._total > self._most:
            _, (_, freed) = self._entries.popitem(last=False)
            self._total -= freed


async def _run(work: Callable[[], Awaitable[_T]]) -> _T:
    return await work()
