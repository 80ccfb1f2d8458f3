"""Single flight: many wait for one piece of work, and it ends when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from paddock_runtime.store.digest import Report
from paddock_runtime.store.reader import Verified


@dataclass(eq=False)
class _Flight:
    task: asyncio.Task[Verified] | None = None
    reports: list[Report] = field(default_factory=list)
    fraction: float | None = None

    def report(self, fraction: float | None) -> None:
        self.fraction = fraction
        for report in self.reports:
            report(fraction)


class Flights:
    """Work by key. Only for one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def join(self, key: str, work: Callable[[Report], Awaitable[Verified]], report: Report) -> Verified:
        """The result of `work`, which runs once for all who join while it runs; each gets every progress report."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.ensure_future(self._run(key, flight, work))
        else:
            report(flight.fraction)
        assert flight.task is not None
        flight.reports.append(report)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.reports.remove(report)
            if not flight.reports and not flight.task.done():
                await self._abandon(key, flight)

    async def _run(self, key: str, flight: _Flight, work: Callable[[Report], Awaitable[Verified]]) -> Verified:
        try:
            return await work(flight.report)
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _abandon(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]  # who comes now starts anew, and waits for the lock until this one let go
        assert flight.task is not None
        flight.task.cancel()
        await asyncio.wait({flight.task})
        if not flight.task.cancelled():
            flight.task.exception()  # nobody is left to hear of it
