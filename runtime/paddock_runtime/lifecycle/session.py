"""A conversation of our own with a context: one request at a time, no client behind it."""

from __future__ import annotations

import asyncio
import itertools
from types import TracebackType
from typing import Self

from paddock_runtime.engine.protocol import (
    Cancel,
    Delta,
    Embedded,
    Generate,
    Message,
    Rejected,
    Sampling,
    Score,
    Scored,
    Started,
)
from paddock_runtime.lifecycle.units import Unit

_GREEDY = Sampling(temperature=0.0)
_salts = itertools.count(1)


class Refused(Exception):
    """The engine won't run the request; the text says why."""


class Session:
    """While it lasts the context counts as busy, so that nobody unloads it, but no Model as used.

    A Receiver of its engine's reports. If the context goes, no answer ever comes: its user is to be cancelled then.
    """

    fingerprint = "session"

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._salt = f"\nsession {next(_salts)}"  # no client's: theirs begin with a Model's id
        self._text: list[str] = []
        self._answer: asyncio.Future[str | bytes] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> Self:
        self._unit.running.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        self._unit.running.discard(self)

    async def generate(self, prompt: str, max_tokens: int) -> str:
        """The likeliest answer. Raises Refused."""
        number = next(self._unit.engine.requests)
        return str(await self._ask(number, Generate(
            id=number, context=self._unit.number, salt=self._salt, prompt=prompt, max_tokens=max_tokens,
            sampling=_GREEDY)))

    async def score(self, prompt: str) -> bytes:
        """The logits after `prompt`, float32. Raises Refused."""
        number = next(self._unit.engine.requests)
        answer = await self._ask(number, Score(id=number, context=self._unit.number, salt=self._salt, prompt=prompt))
        assert isinstance(answer, bytes)
        return answer

    async def _ask(self, number: int, message: Message) -> str | bytes:
        engine = self._unit.engine
        self._text.clear()
        self._answer = asyncio.get_running_loop().create_future()
        engine.receivers[number] = self
        engine.client.send(message)
        try:
            return await self._answer
        finally:
            engine.receivers.pop(number, None)
            if self._answer.cancelled():
                engine.client.send(Cancel(id=number))

    # --- as the engine sees it

    def started(self, report: Started) -> None:
        """Nobody asks how many tokens were reused."""

    def delta(self, delta: Delta) -> None:
        self._text.append(delta.text)
        if delta.finish is not None and not self._answer.done():
            self._answer.set_result("".join(self._text))

    def rejected(self, report: Rejected) -> None:
        if not self._answer.done():
            self._answer.set_exception(Refused(report.message))

    def embedded(self, report: Embedded) -> None:
        """Nothing here asks for embeddings."""

    def scored(self, report: Scored) -> None:
        if not self._answer.done():
            self._answer.set_result(report.logits)
