"""One job from its arrival to its end: waiting, preparing, running in an engine, perhaps once more after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from paddock_api.errors import Code, PaddockError
from paddock_runtime.engine.protocol import Delta, Embedded, Rejected, Started
from paddock_runtime.jobs import Accepted, Job, Output, Served, Text, Vectors
from paddock_runtime.lifecycle.ends import engine_code
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.outbox import Outbox
from paddock_runtime.lifecycle.units import Unit
from paddock_runtime.usage.tally import Tally


class RunOwner(Protocol):
    def finish(self, run: Run, error: PaddockError | None = None, *, drop: bool = False) -> None:
        """Ends the run: its places are free at once. Safe to call twice."""
        ...


class Run:
    """A job and its place. It is the jobs.Stream that its reader iterates.

    `number` is the order of arrival. `suspect`: it was there when an engine died, so it runs alone.
    """

    def __init__(self, model: Model, job: Job, number: int, outbox: Outbox, owner: RunOwner, *,
                 arrived: float) -> None:
        self.model = model
        self.job = job
        self.number = number
        self.arrived = arrived
        self.outbox = outbox
        self.suspect = False
        self.retried = False
        self.hold_until = job.hold_until
        self.unit: Unit | None = None
        self.served: Served | None = None
        self.ids: dict[int, int] = {}  # the engine's request ids → choices, as long as they run
        self.sent = False
        self.content = False
        self.tally = Tally()
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._accepted: set[int] = set()
        self._owner = owner

    @property
    def fingerprint(self) -> str:
        return f"{self.job.model}\n{self.job.fingerprint}"

    @property
    def salt(self) -> str:
        """Unambiguous: a Model's id has no line break."""
        return f"{self.model.salt}\n{self.job.tenant}"

    @property
    def ended(self) -> bool:
        return self.outbox.ended

    def back_to_queue(self) -> None:
        """Forgets its place in an engine that is gone."""
        if self.task is not None:
            self.task.cancel()
        self.task = self.unit = self.served = None
        self.sent = False
        self.tally = Tally()
        self.ids.clear()

    # --- as the engine sees it

    def started(self, report: Started) -> None:
        choice = self.ids.get(report.id)
        if choice is not None:
            self.tally.started(report)
        if choice is None or self.served is None or choice in self._accepted:
            return  # a retried request was accepted before
        self._accepted.add(choice)
        self.outbox.put(Accepted(choice=choice, served=self.served, prompt_tokens=report.prompt_tokens,
                                 cached_tokens=report.cached_tokens))

    def delta(self, delta: Delta) -> None:
        choice = self.ids.get(delta.id)
        if choice is None:
            return
        self.content = self.content or bool(delta.text)
        self.tally.delta(delta)
        self.outbox.put(Text(choice=choice, delta=delta))
        if delta.finish is not None:
            self._choice_done(delta.id)

    def rejected(self, report: Rejected) -> None:
        self.ids.pop(report.id, None)
        self._owner.finish(self, PaddockError(engine_code(report.code, Code.INTERNAL), report.message,
                                              param=report.param))

    def embedded(self, report: Embedded) -> None:
        if report.id not in self.ids or self.served is None:
            return
        self.content = True
        self.tally.embedded(report)
        self.outbox.put(Vectors(served=self.served, vectors=report.vectors, dimensions=report.dimensions,
                                tokens=report.tokens))
        self._choice_done(report.id)

    def _choice_done(self, request: int) -> None:
        self.ids.pop(request)
        if self.unit is not None:
            self.unit.engine.receivers.pop(request, None)
        if not self.ids:
            self._owner.finish(self)

    # --- as its reader sees it

    def __aiter__(self) -> AsyncIterator[Output]:
        return self

    @property
    def ready(self) -> bool:
        return self.outbox.ready

    async def __anext__(self) -> Output:
        try:
            output = await self.outbox.next()
        except asyncio.CancelledError:
            self._owner.finish(self, drop=True)
            raise
        if output is None:
            raise StopAsyncIteration
        return output

    async def aclose(self) -> None:
        self._owner.finish(self, drop=True)
