"""How often pods' whole states are read: all of them together take a bounded share of this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from paddock_operator.clock import Clock, monotonic


class Thrift:
    """Shared by all who read. `share`: of one processor, at most, that reading takes."""

    def __init__(self, *, share: float = 0.2, clock: Clock = monotonic) -> None:
        self._share = share
        self._clock = clock
        self._cost = 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Returns when it is this one's turn, in the order of asking: one reading's cost after another, apart so far
        that they stay within the share."""
        now = self._clock()
        turn = max(now, self._next)
        self._next = turn + self._cost / self._share
        if turn > now:
            await asyncio.sleep(turn - now)

    @contextlib.contextmanager
    def spent(self) -> Iterator[None]:
        """Around the work of one reading, without its waiting."""
        began = self._clock()
        try:
            yield
        finally:
            self._cost = self._clock() - began
