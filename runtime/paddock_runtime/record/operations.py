"""What was done with a Model, read off the bus."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel

from paddock_api.events import Event, EventType
from paddock_api.history import Cause, Done
from paddock_api.state import Phase
from paddock_runtime.record import tables
from paddock_runtime.record.record import Record

_FOR_OTHERS = frozenset({"room", "pressure"})
SHUTDOWN = "shutdown"


class Loaded(BaseModel):
    """A Model is in memory since `at`, Unix seconds."""

    revision: str
    at: float


class LoadTime(BaseModel):
    """How long the last load took, in seconds."""

    revision: str
    seconds: float
    at: float


@dataclass
class _Seen:
    loading_since: float | None = None
    leaving: str | None = None  # the reason that was given
    active: str | None = None
    failure: tuple[str, float] | None = None


class Operations:
    """A listener of the bus. `loaded`: the Models in memory; an end of the pod takes none of them away, for they are
    what it brings back. `load_times`: by Model. Failures from before `since` (Unix seconds) were told in an earlier
    life."""

    def __init__(self, record: Record, *, since: float) -> None:
        self._record, self._since = record, since
        self.loaded = record.shelf("loaded", Loaded)
        self.load_times = record.shelf("load_time", LoadTime)
        self._seen: dict[str, _Seen] = {}
        self._ending = False

    def on_event(self, event: Event) -> None:
        if event.type is EventType.DRAINING:
            self._ending = True
        elif event.model is not None and event.type is EventType.PHASE:
            self._phase(event, event.model)
        elif event.model is not None and event.type is EventType.MODEL:
            self._details(event, event.model, event.data["state"])

    def done(self, model: str, moment: float, what: Done, revision: str | None, **detail: Any) -> None:
        write: Callable[[sqlite3.Connection], None] = partial(_operation, model, moment, what, revision, detail)
        self._record.write(None, write)

    def _phase(self, event: Event, model: str) -> None:
        seen = self._seen.setdefault(model, _Seen())
        before, now = Phase(event.data["from"]), Phase(event.data["to"])
        if now is Phase.LOADING:
            seen.loading_since = event.time
        elif now in (Phase.DRAINING, Phase.UNLOADING):
            seen.leaving = event.data.get("reason", seen.leaving)
        elif now is Phase.READY:
            self._ready(event, model, seen)
        elif before in (Phase.READY, Phase.DRAINING, Phase.UNLOADING):
            self._gone(event, model, seen)
        if now is Phase.ABSENT:
            self._seen.pop(model, None)  # it was removed, or nothing is known of it

    def _ready(self, event: Event, model: str, seen: _Seen) -> None:
        seen.leaving = None
        revision = event.revision or ""
        self.loaded.put(model, Loaded(revision=revision, at=event.time))
        if seen.loading_since is not None:
            seconds = round(event.time - seen.loading_since, 3)
            seen.loading_since = None
            self.load_times.put(model, LoadTime(revision=revision, seconds=seconds, at=event.time))
            self.done(model, event.time, Done.LOAD, event.revision, seconds=seconds)

    def _gone(self, event: Event, model: str, seen: _Seen) -> None:
        reason, seen.leaving = seen.leaving, None
        if not self._ending and reason != SHUTDOWN:
            self.loaded.drop(model)
        if reason is not None:  # else it died, and its failure is told
            what = Done.EVICT if reason in _FOR_OTHERS else Done.UNLOAD
            self.done(model, event.time, what, event.revision, reason=reason)

    def _details(self, event: Event, model: str, state: dict[str, Any]) -> None:
        seen = self._seen.setdefault(model, _Seen())
        failure = state["failure"]
        known = None if failure is None else (failure["reason"], failure["at"])
        # the moment of a failure is computed anew each time, from a clock that may be set
        if failure is not None and failure["at"] >= self._since - 1.0 and (
                seen.failure is None or seen.failure[0] != failure["reason"]
                or abs(seen.failure[1] - failure["at"]) > 1.0):
            self.done(model, event.time, Done.FAIL, state["desired_revision"], reason=failure["reason"],
                      message=failure["message"])
        seen.failure = known
        active, desired = state["active_revision"], state["desired_revision"]
        if active is None or active == seen.active:
            return
        fallback = active != desired and desired in state["bad_revisions"]
        if fallback or seen.active is not None:
            self.done(model, event.time, Done.SWITCH, active, **{"from": seen.active or desired},
                      cause=Cause.FALLBACK if fallback else Cause.CONFIGURATION)
        seen.active = active


def _operation(model: str, moment: float, what: Done, revision: str | None, detail: dict[str, Any],
               database: sqlite3.Connection) -> None:
    tables.operation(database, model, moment, what, revision, detail)
