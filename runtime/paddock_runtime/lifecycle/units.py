"""What is in memory: engines (children, one a set of weights) and the contexts in them. Plain state, no decisions."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from paddock_api.errors import PaddockError
from paddock_runtime.engine.client import EngineClient
from paddock_runtime.engine.protocol import ContextOpened, Delta, Embedded, ModelFacts, Rejected, Started, Stats
from paddock_runtime.engine.types import EngineType
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.predict.types import Guess


class UnitState(StrEnum):
    LOADING = "loading"
    READY = "ready"
    LEAVING = "leaving"


class EngineStage(StrEnum):
    STARTING = "starting"  # no word from the child yet
    LOADING = "loading"
    READY = "ready"
    ENDING = "ending"


class Receiver(Protocol):
    """A request in an engine, as its reports see it."""

    @property
    def fingerprint(self) -> str: ...

    def started(self, report: Started) -> None: ...

    def delta(self, delta: Delta) -> None: ...

    def rejected(self, report: Rejected) -> None: ...

    def embedded(self, report: Embedded) -> None: ...


@dataclass(eq=False)
class Unit:
    """A context. `target` is the revision it was opened for; others with an equal context key share it.

    `closed`: its turn is over. `dismissed`: it was told to leave once nothing runs in it. `deserted_at`: since when
    nobody has use for its load. `load_seconds`: what that took, from the decision until it was ready.
    """

    key: str
    engine: Engine
    target: Target
    number: int
    context_bytes: int
    since: float
    state: UnitState = UnitState.LOADING
    opened: ContextOpened | None = None
    progress: float | None = None
    asked_at: float = 0.0
    loaded_at: float = 0.0
    load_seconds: float = 1.0
    last_used: float = 0.0
    deserted_at: float | None = None
    running: set[Receiver] = field(default_factory=set)
    closed: bool = False
    dismissed: bool = False
    guess: Guess | None = None  # loaded on it, and not used yet
    warmed: set[tuple[str, str]] = field(default_factory=set)  # (Model, prompt) that were sent to be warmed up
    warming: bool = False

    @property
    def admits(self) -> bool:
        return self.state is UnitState.READY and not self.closed and not self.dismissed \
            and self.engine.stage is EngineStage.READY

    @property
    def places(self) -> int:
        """Requests to have in the engine at once: enough that it never waits for us, few enough that they wait here."""
        parallel = 1 if self.opened is None else max(1, self.opened.parallel)
        return max(2 * parallel, parallel + 8)


@dataclass(eq=False)
class Engine:
    """A child. `weights_bytes` is what it was admitted with beside its contexts; `measured` its PSS."""

    key: str
    engine_type: EngineType
    client: EngineClient
    weights_bytes: int
    started_at: float
    threads: int
    estimated_bytes: int  # of the weights, by the file's header alone
    told_threads: int = 0
    stage: EngineStage = EngineStage.STARTING
    heard: bool = False  # it began its load, or tried to
    facts: ModelFacts | None = None
    units: dict[str, Unit] = field(default_factory=dict)
    receivers: dict[int, Receiver] = field(default_factory=dict)
    exclusive: Receiver | None = None  # a suspect that runs alone
    measured: int | None = None
    allowed: int = 0  # what it was admitted with when it was measured, contexts that were just closed included
    error: PaddockError | None = None  # why it is being ended, if not because it is no longer needed
    stats: Stats | None = None
    steps: int = 0
    stepped_at: float = 0.0
    busy_until: float = 0.0
    task: asyncio.Task[None] | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    requests: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def pid(self) -> int | None:
        return None if self.client.process is None else self.client.process.pid

    @property
    def ending(self) -> bool:
        return self.stage is EngineStage.ENDING

    @property
    def running(self) -> int:
        return sum(len(unit.running) for unit in self.units.values())

    @property
    def computing(self) -> bool:
        """Whether it has use for cores now."""
        return self.stage in (EngineStage.STARTING, EngineStage.LOADING) or self.running > 0 \
            or any(unit.state is UnitState.LOADING for unit in self.units.values())

    @property
    def contexts_bytes(self) -> int:
        return sum(unit.context_bytes for unit in self.units.values())

    @property
    def admitted_bytes(self) -> int:
        return self.weights_bytes + self.contexts_bytes

    @property
    def charged_bytes(self) -> int:
        """What counts against the budget: what was admitted, or what it has been seen to take."""
        return max(self.admitted_bytes, self.measured or 0)
