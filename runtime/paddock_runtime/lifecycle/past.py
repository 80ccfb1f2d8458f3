"""What the lifecycle tells the record, and what it gets back from it after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import Any

from pydantic import BaseModel

from paddock_api.errors import Code
from paddock_api.history import Done, ModelHistory
from paddock_api.revision import Revision
from paddock_runtime.bus import Bus
from paddock_runtime.lifecycle.failure import Failure
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.models import Model, Registry
from paddock_runtime.lifecycle.returning import Returning
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.watch import Learned
from paddock_runtime.record import Record, tables
from paddock_runtime.record.operations import Operations
from paddock_runtime.system.clock import Clock

_FLUSH = 0.5  # seconds for which requests are counted before the count is written
_FIRST_AFTER = 60.0  # seconds without a request for a Model; the next is a first one
_HOUR = 3600
_DEPENDS_ON_US = frozenset({Code.NO_FIT})  # another start may have another budget


class LastUse(BaseModel):
    """Unix seconds."""

    at: float


class Excess(BaseModel):
    """By how many bytes an engine was seen to exceed its estimate."""

    bytes: int


class PinnedModel(BaseModel):
    """A Model that is pinned to this pod."""


class PastFailure(BaseModel):
    """A lifecycle.failure.Failure in Unix seconds, with what tells whether it still holds: a permanent one is void for
    another file or another version of ours."""

    code: Code
    message: str
    at: float
    attempts: int
    retry_at: float | None
    param: str | None
    version: str
    signature: list[list[int] | None] | None


class Past:
    """All on the event loop; nothing here waits but `history`."""

    def __init__(self, record: Record, learned: Learned, *, bus: Bus, clock: Clock, limits: Limits, version: str
                 ) -> None:
        self._record, self._clock, self._limits, self._version = record, clock, limits, version
        self._operations = Operations(record, since=clock.wall())
        bus.listen(self._operations.on_event)
        self._used = record.shelf("last_use", LastUse)
        self._failures = record.shelf("failure", PastFailure)
        self._pinned = record.shelf("pinned", PinnedModel)
        self._excess = record.shelf("excess", Excess, limit=limits.learned_entries)
        marks = record.read_now(tables.marks, tables.Marks({}, {}))
        self._bad, self._good = marks.bad, marks.good
        self._proven: set[tuple[str, str]] = set()
        self._asked: dict[str, float] = {}
        self._counts: dict[tuple[str, int], int] = {}
        self._firsts: list[tables.First] = []
        self._flush_at: asyncio.TimerHandle | None = None
        self._pruned = int(clock.wall() // _HOUR)
        start = clock.monotonic()
        self._returning = Returning((name for name, _ in self._operations.loaded.items()), self._last_use,
                                    start=start, patient=start + limits.return_patience,
                                    until=start + limits.return_seconds)
        learned.recall({key: excess.bytes for key, excess in self._excess.items()},
                       tell=lambda key, size: self._excess.put(key, Excess(bytes=size)))

    # --- after a restart

    def recall(self, registry: Registry, model: Model) -> None:
        """What is known of a Model that is new to this life: before anything is done with it."""
        name, now = str(model.id), self._clock.monotonic()
        used = self._used.get(name)
        if used is not None:
            model.last_used = now - max(0.0, self._clock.wall() - used.at)
        good = self._good.pop(name, None)
        if good is not None and model.fallback is None:
            revision = Revision.model_validate_json(good)
            if revision.id != model.desired.revision.id:
                registry.fall_back_to(model, revision)
        for target in model.targets():
            self._recall_failure(name, target, now)
        model.returning = self._returning.place(name)

    def _recall_failure(self, name: str, target: Target, now: float) -> None:
        past = self._failures.get(_key(name, target))
        if past is None or past.code in _DEPENDS_ON_US:
            return
        if past.retry_at is None and past.version != self._version:
            return
        ago = max(0.0, self._clock.wall() - past.at)
        left = None if past.retry_at is None else past.retry_at - past.at - ago
        target.failure = Failure(code=past.code, message=past.message, at=now - ago, attempts=past.attempts,
                                 retry_at=None if left is None else now + left, param=past.param)
        target.signature = None if past.signature is None else tuple(
            None if each is None else tuple(each) for each in past.signature)

    def _last_use(self, name: str) -> float:
        used = self._used.get(name)
        return self._asked.get(name, 0.0 if used is None else used.at)

    # --- what happens

    def accepted(self, model: Model) -> None:
        """A configuration that names it came into force."""
        name, moment = str(model.id), self._clock.wall()
        self._record.write(None, partial(_accept, name, model.desired.revision, moment))
        if model.pinned is (self._pinned.get(name) is None):
            what = Done.PIN if model.pinned else Done.UNPIN
            self._operations.done(name, moment, what, model.desired.revision.id)
            if model.pinned:
                self._pinned.put(name, PinnedModel())
            else:
                self._pinned.drop(name)

    def look(self, model: Model) -> None:
        """Something about it may have changed."""
        if model.removed:
            return
        name = str(model.id)
        for target in model.targets():
            self._look_at_failure(name, target)
            self._look_at_marks(name, target, proven=target.proven or target is model.active)

    def asked(self, model: Model) -> None:
        """A request came."""
        name, moment = str(model.id), self._clock.wall()
        if moment - self._last_use(name) >= _FIRST_AFTER:
            self._firsts.append(tables.First(name, moment))
        self._asked[name] = moment
        key = (name, int(moment // _HOUR))
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._flush_at is None:
            self._flush_at = asyncio.get_running_loop().call_later(_FLUSH, self.flush)

    def flush(self) -> None:
        """Hands on what was counted."""
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        counts = [tables.Hour(model, hour, count) for (model, hour), count in self._counts.items()]
        if counts:
            self._record.write(None, partial(_use, counts, self._firsts))
            self._counts, self._firsts = {}, []
        for name, moment in self._asked.items():
            self._used.put(name, LastUse(at=moment))
        self._asked.clear()
        hour = int(self._clock.wall() // _HOUR)
        if hour != self._pruned:
            self._pruned = hour
            self._record.write(("prune", ""), partial(_forget, hour))

    async def history(self, model: Model) -> ModelHistory:
        """Raises NoRecord."""
        found = await self._record.read(partial(_history, str(model.id), model.desired.revision.id))
        active = None if model.active is None else model.active.revision.id
        return found.model_copy(update={"active": active})

    def _look_at_failure(self, name: str, target: Target) -> None:
        key, failure = _key(name, target), target.failure
        past = self._failures.get(key)
        if failure is None:
            if past is not None:
                self._failures.drop(key)
            return
        wall = self._clock.wall_of
        if past is not None and (past.code, past.attempts) == (failure.code, failure.attempts) \
                and abs(past.at - wall(failure.at)) < 1.0:
            return
        signature: Any = target.signature
        self._failures.put(key, PastFailure(
            code=failure.code, message=failure.message, at=wall(failure.at), attempts=failure.attempts,
            retry_at=None if failure.retry_at is None else wall(failure.retry_at), param=failure.param,
            version=self._version, signature=signature))

    def _look_at_marks(self, name: str, target: Target, *, proven: bool) -> None:
        mark = (name, target.revision.id)
        failure = target.failure
        if failure is not None and failure.permanent:
            why = f"{failure.code.value}: {failure.message}"
            if self._bad.get(mark) != why:
                self._bad[mark] = why
                self._record.write(None, partial(_mark_bad, *mark, why))
        elif proven and mark not in self._proven:
            self._proven.add(mark)
            self._bad.pop(mark, None)
            self._record.write(None, partial(_prove, *mark, self._clock.wall()))


def _key(name: str, target: Target) -> str:
    return f"{name}@{target.revision.id}"


def _accept(name: str, revision: Revision, moment: float, database: sqlite3.Connection) -> None:
    tables.accept(database, name, revision, moment)


def _use(counts: list[tables.Hour], firsts: list[tables.First], database: sqlite3.Connection) -> None:
    tables.use(database, counts, firsts)


def _forget(hour: int, database: sqlite3.Connection) -> None:
    tables.forget_old_usage(database, hour)


def _history(name: str, desired: str, database: sqlite3.Connection) -> ModelHistory:
    return tables.history(database, name, desired)


def _mark_bad(name: str, revision: str, why: str, database: sqlite3.Connection) -> None:
    tables.mark_bad(database, name, revision, why)


def _prove(name: str, revision: str, moment: float, database: sqlite3.Connection) -> None:
    tables.mark_bad(database, name, revision, None)
    tables.mark_proven(database, name, revision, moment)
