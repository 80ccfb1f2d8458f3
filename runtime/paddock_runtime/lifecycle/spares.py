"""A spare child for each kind of engine: started, libraries loaded, waiting for its load. A cold request saves that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paddock_runtime.engine.client import EngineClient
from paddock_runtime.engine.protocol import PROTOCOL_VERSION, Hello, Report
from paddock_runtime.engine.types import EngineType
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.system.clock import Clock

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Spare:
    """`hello` is its first word: from then on it can be used."""

    engine_type: EngineType
    client: EngineClient
    started_at: float
    hello: Hello | None = None
    measured: int | None = None
    leaving: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def usable(self) -> bool:
        process = self.client.process
        return self.hello is not None and self.hello.protocol == PROTOCOL_VERSION and not self.leaving \
            and process is not None and process.running

    def hear(self, report: Report) -> None:
        if isinstance(report, Hello):
            self.hello = report


@dataclass
class _Past:
    """Of one kind: when a spare was of use last, and how those fared that died unused."""

    used_at: float
    attempts: int = 0
    retry_at: float = 0.0


def keeps(now: float, past_use: float, limits: Limits, *, room: int, size: int, calm: bool) -> bool:
    """Whether a spare of `size` bytes may stay where `room` are free. Pure. `calm`: memory is not short."""
    return calm and room >= size and now - past_use < limits.spare_idle


class Spares:
    """`tend` starts and ends them; it never waits. What fails here fails no load: that starts a child of its own."""

    def __init__(self, types: Iterable[EngineType], *, limits: Limits, clock: Clock) -> None:
        self._types = {each.name: each for each in types}
        self._limits, self._clock = limits, clock
        now = clock.monotonic()
        self._past = {name: _Past(now) for name in self._types}
        self._spares: dict[str, Spare] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def take(self, engine_type: EngineType) -> Spare | None:
        """The spare of this kind, if it is ready; another takes its place later."""
        past, spare = self._past.get(engine_type.name), self._spares.get(engine_type.name)
        if past is None:
            return None
        past.used_at = self._clock.monotonic()
        if spare is None or not spare.usable:
            return None
        past.attempts = 0
        del self._spares[engine_type.name]
        if spare.task is not None:
            spare.task.cancel()  # its end is another's concern from now on
        return spare

    def tend(self, *, room: int, calm: bool, loading: bool, wanted: bool) -> None:
        """`room`: bytes of the budget that nobody is charged for. `loading`: others need the cores just now.
        `wanted`: there are Models that could use one."""
        now = self._clock.monotonic()
        for name, past in self._past.items():
            spare = self._spares.get(name)
            size = self._limits.spare_bytes if spare is None or spare.measured is None else spare.measured
            stays = wanted and not self._closed and keeps(now, past.used_at, self._limits, room=room, size=size,
                                                          calm=calm)
            if spare is None:
                if stays and not loading and now >= past.retry_at:
                    self._start(name, now)
                    room -= size
            elif not stays or (spare.hello is None and now - spare.started_at > self._limits.start_timeout):
                self._end(name, spare)
                if not calm:  # it may be the very one that made memory short: not at once again
                    past.retry_at = now + self._limits.spare_pause
            else:
                room -= size

    @property
    def bytes(self) -> int:
        """What counts against the budget: measured, or else the most that one may be."""
        return sum(self._limits.spare_bytes if spare.measured is None else spare.measured
                   for spare in self._spares.values())

    @property
    def measured_bytes(self) -> int:
        return sum(spare.measured or 0 for spare in self._spares.values())

    @property
    def pids(self) -> list[int]:
        return [spare.client.process.pid for spare in self._spares.values() if spare.client.process is not None]

    def measure(self, sizes: Mapping[int, int]) -> None:
        for spare in self._spares.values():
            if spare.client.process is not None:
                spare.measured = sizes.get(spare.client.process.pid, spare.measured)

    async def close(self) -> None:
        """Returns when all are reaped."""
        self._closed = True
        for name, spare in list(self._spares.items()):
            self._end(name, spare)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, name: str, now: float) -> None:
        spare = Spare(self._types[name], EngineClient(lambda report: spare.hear(report), self._clock), now)
        self._spares[name] = spare
        spare.task = self._keep(self._live(name, spare), f"spare {name}")

    async def _live(self, name: str, spare: Spare) -> None:
        try:
            process = await spare.client.start(spare.engine_type)
        except OSError as error:
            self._died(name, spare, error.strerror or str(error))
            return
        if spare.leaving:
            await process.close(0.0)
            return
        code = await process.ended()
        if not spare.leaving:
            self._died(name, spare, f"exit code {code}")

    def _died(self, name: str, spare: Spare, why: str) -> None:
        past = self._past[name]
        past.attempts += 1
        past.retry_at = self._clock.monotonic() + self._limits.spare_backoff.delay(past.attempts)
        if self._spares.get(name) is spare:
            del self._spares[name]
        _log.warning("a spare engine ended: %s; loads start their own meanwhile", why)

    def _end(self, name: str, spare: Spare) -> None:
        del self._spares[name]
        spare.leaving = True
        if spare.client.process is not None:
            self._keep(self._close(spare), f"end of spare {name}")

    async def _close(self, spare: Spare) -> None:
        assert spare.client.process is not None
        await spare.client.process.close(self._limits.close_grace)

    def _keep(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
