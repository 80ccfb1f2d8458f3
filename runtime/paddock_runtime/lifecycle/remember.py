"""Habits are written behind: after a change, at most each half minute, and at the end."""

from __future__ import annotations

import asyncio
import logging

from paddock_runtime.lifecycle.foresight import Foresight
from paddock_runtime.predict.keep import Keeper

_log = logging.getLogger(__name__)
INTERVAL = 30.0  # seconds


class Memory:
    """What Foresight learns, in a Keeper."""

    def __init__(self, foresight: Foresight, keeper: Keeper) -> None:
        self._foresight, self._keeper = foresight, keeper

    async def recall(self) -> None:
        """Before the first request; nothing was learned yet."""
        self._foresight.predictor.restore(await asyncio.to_thread(self._keeper.read))

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self.write()

    async def write(self) -> None:
        """If there is news. A disk that is full costs only what would have been remembered."""
        if not self._foresight.news:
            return
        self._foresight.news = False
        document = self._foresight.predictor.snapshot()
        try:
            await asyncio.to_thread(self._keeper.write, document)
        except OSError as error:
            self._foresight.news = True
            _log.warning("habits could not be written: %s", error.strerror or error)
