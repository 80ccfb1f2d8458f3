"""Habits are written behind: after a change, at most each half minute, and at the end."""

from __future__ import annotations

import asyncio
import json

from pydantic import BaseModel

from paddock_runtime.lifecycle.foresight import Foresight
from paddock_runtime.record import Record

INTERVAL = 30.0  # seconds
_KEY = "all"


class KeptHabits(BaseModel):
    """What a predictor's `snapshot` says, as JSON."""

    text: str


class Memory:
    """What Foresight learns, in the record."""

    def __init__(self, foresight: Foresight, record: Record) -> None:
        self._foresight, self._shelf = foresight, record.shelf("habits", KeptHabits, limit=1)

    async def recall(self) -> None:
        """Before the first request; nothing was learned yet."""
        kept = self._shelf.get(_KEY)
        if kept is not None:
            self._foresight.predictor.restore(await asyncio.to_thread(parsed, kept.text))

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self.write()

    async def write(self) -> None:
        """If there is news."""
        if not self._foresight.news:
            return
        self._foresight.news = False
        document = self._foresight.predictor.snapshot()
        self._shelf.put(_KEY, KeptHabits(text=await asyncio.to_thread(json.dumps, document, separators=(",", ":"))))


def parsed(text: str) -> object:
    """None when it can't be used."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
