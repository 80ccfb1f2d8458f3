"""What the scheduler is told and what it answers. All times are monotonic seconds, all sizes bytes.

The unit is a context in an engine. `key` names the context, `weights` the engine (one set of weights); contexts
that name the same `weights` live in one child and pay for them once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

POINTS_TO_DOUBLE = 10.0


class State(StrEnum):
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"  # told to go; its bytes count until it is gone


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The limits. `service_seconds` is one turn: how long a busy context keeps its place against one that waits.
    A waiting load gains `points_per_second` of priority; after `max_wait_seconds` it goes before all younger ones.
    `free_bytes`: idle contexts are to free so much although the budget has room.
    What is loaded on guesses takes at most `guess_bytes` of the memory.
    Each that waits for it adds one point, divided by the share of all memory that it takes: at most `crowd_points`.
    """

    memory_bytes: int
    concurrent_loads: int = 2
    service_seconds: float = 5.0
    points_per_second: float = 10.0
    max_wait_seconds: float = 30.0
    free_bytes: int = 0
    guess_bytes: int = 0
    crowd_points: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Resident:
    """A context in memory, or on its way in or out. `waiting` counts requests held for it though it is ready.

    `kept`: loaded without being asked, so it has no idle time-out and goes after the others.
    `superseded`: a newer revision is to take its place. `unwanted`: no Model refers to it any more. `use_rate`: uses a
    second to be expected; `load_seconds`: what the next of them would wait if it left.
    `guessed`: loaded on a guess of this certainty (0…1) and not used yet: it goes before all others, the least certain
    first, even while it loads.
    """

    key: str
    weights: str
    context_bytes: int
    weights_bytes: int
    state: State = State.READY
    busy: int = 0
    waiting: int = 0
    last_used: float = 0.0
    loaded_at: float = 0.0
    min_residency: float = 0.0
    idle_timeout: float = 600.0
    priority: int = 0
    pinned: bool = False
    kept: bool = False
    superseded: bool = False
    unwanted: bool = False
    guessed: float | None = None
    use_rate: float = 0.0
    load_seconds: float = 1.0

    @property
    def has_work(self) -> bool:
        return self.busy > 0 or self.waiting > 0

    @property
    def young_until(self) -> float:
        return self.loaded_at + self.min_residency

    @property
    def value(self) -> float:
        """What a byte of it earns: the waiting that it is expected to spare, doubled by every `POINTS_TO_DOUBLE` of
        priority. The square of a wait counts: one of a minute is worse than ten of six seconds."""
        spared = self.use_rate * self.load_seconds ** 2 / max(1, self.context_bytes + self.weights_bytes)
        return spared * math.exp2(self.priority / POINTS_TO_DOUBLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A context that somebody waits for since `since`. After `deadline` nobody does.

    `spare`: nobody asked; it is loaded into room that is free, and evicts nothing. `guessed`: a spare one that nobody
    configured either, but that is likely to be asked for soon, with this certainty; it loads when nothing else does.
    """

    key: str
    weights: str
    context_bytes: int
    weights_bytes: int
    since: float
    priority: int = 0
    waiters: int = 1
    deadline: float | None = None
    spare: bool = False
    guessed: float | None = None


class EvictReason(StrEnum):
    IDLE = "idle"  # idle longer than its time-out
    ROOM = "room"  # another load needs the room
    PRESSURE = "pressure"  # memory grew over the budget
    UNWANTED = "unwanted"  # its Model was removed or changed


@dataclass(frozen=True, slots=True)
class Load:
    key: str


@dataclass(frozen=True, slots=True)
class Evict:
    key: str
    reason: EvictReason
    wanted_by: str | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """It needs more than can be made free. `forever`: more than the whole budget; else pinned contexts hold it."""

    key: str
    needed_bytes: int
    available_bytes: int
    forever: bool


Action = Load | Evict | Refuse


@dataclass(frozen=True, slots=True)
class Decision:
    """`closed`: ready contexts whose turn is over; they finish what runs and take nothing new.
    `wake_at`: when to ask again if nothing happens before. `room_at`: the wants that others stand in the way of, and
    the first moment at which these may be asked to leave; their work may last longer."""

    actions: tuple[Action, ...]
    closed: frozenset[str]
    wake_at: float | None
    room_at: dict[str, float] = field(default_factory=dict)
