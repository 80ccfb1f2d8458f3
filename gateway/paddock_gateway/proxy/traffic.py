"""Counts of what is on its way: the bounds of the queues, the loads that the choice looks at, and the demand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_gateway.fleet.choose import Load
from paddock_gateway.fleet.world import PodKey

RETRY_AFTER = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One Model's demand. Each request is counted once: it waits, or its answer has begun. `idle`: seconds since the
    last one came or ended."""

    waiting: int
    answering: int
    idle: float


class Traffic:
    def __init__(self, *, queue_per_model: int, max_requests: int, body_memory: int,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._queue_per_model, self._max_requests, self._body_memory = queue_per_model, max_requests, body_memory
        self._clock = clock
        self.total = 0
        self.body_bytes = 0
        self._waiting: Counter[ModelId] = Counter()
        self._answering: Counter[ModelId] = Counter()
        self._last: dict[ModelId, float] = {}
        self._at: dict[PodKey, Counter[ModelId]] = {}

    def enter(self, model: ModelId, *, places: int, body: int) -> Ticket:
        """`places`: pods that have the Model, each of which may have a queue of its own; `body`: bytes to keep.

        Raises PaddockError QUEUE_FULL."""
        limit = self._queue_per_model * max(1, places)
        if self._waiting[model] >= limit:
            raise _full(f"{self._waiting[model]} requests already wait for {model}")
        if self.total >= self._max_requests:
            raise _full(f"{self.total} requests are already on their way through this gateway")
        self._room_for(body)
        return Ticket(self, model, body)

    @contextmanager
    def reading(self) -> Iterator[Callable[[int], None]]:
        """While a body comes in: call what this gives with the size of each piece, which is held until the end.

        The call raises PaddockError QUEUE_FULL."""
        held = 0

        def take(size: int) -> None:
            nonlocal held
            self._room_for(size)
            held += size
            self.body_bytes += size

        try:
            yield take
        finally:
            self.body_bytes -= held

    def loads(self, model: ModelId, keys: Mapping[str, PodKey]) -> dict[str, Load]:
        """By pod name, for pods that have something of ours."""
        return {name: Load(at[model], at.total()) for name, key in keys.items()
                if (at := self._at.get(key)) is not None}

    def uses(self) -> dict[ModelId, Use]:
        """Every Model that was asked for, and its demand now."""
        now = self._clock()
        return {model: Use(waiting=self._waiting[model], answering=self._answering[model],
                           idle=0.0 if self._waiting[model] or self._answering[model] else now - last)
                for model, last in self._last.items()}

    def forget(self, known: Mapping[ModelId, object]) -> None:
        """Models that are gone and have no request left are no longer counted."""
        for model in [each for each in self._last if each not in known]:
            if not self._waiting[model] and not self._answering[model]:
                del self._last[model], self._waiting[model], self._answering[model]

    def _room_for(self, body: int) -> None:
        if self.body_bytes + body > self._body_memory:
            raise _full(f"the requests that wait already hold {self.body_bytes >> 20} MiB of this gateway")

    # --- for tickets

    def _count(self, model: ModelId, *, waiting: int = 0, answering: int = 0, total: int = 0, body: int = 0) -> None:
        self._waiting[model] += waiting
        self._answering[model] += answering
        self.total += total
        self.body_bytes += body
        self._last[model] = self._clock()

    def _place(self, key: PodKey, model: ModelId, change: int) -> None:
        at = self._at.setdefault(key, Counter())
        at[model] += change
        if not at[model]:
            del at[model]
        if not at:
            del self._at[key]


class Ticket:
    """One request's place in the counts, from its admission to its end."""

    def __init__(self, traffic: Traffic, model: ModelId, body: int) -> None:
        self.model = model
        self._traffic, self._body = traffic, body
        self._pod: PodKey | None = None
        self._answering = False
        self._open = True
        traffic._count(model, waiting=1, total=1, body=body)

    def at(self, pod: PodKey | None) -> None:
        """It is sent to `pod`, or to none any more."""
        if self._pod is not None:
            self._traffic._place(self._pod, self.model, -1)
        if pod is not None:
            self._traffic._place(pod, self.model, 1)
        self._pod = pod

    def answered(self) -> None:
        """The answer has begun: its body will not be sent again."""
        if self._open and not self._answering:
            self._answering = True
            self._traffic._count(self.model, waiting=-1, answering=1, body=-self._body)
            self._body = 0

    def close(self) -> None:
        if self._open:
            self.at(None)
            self._open = False
            self._traffic._count(self.model, waiting=0 if self._answering else -1,
                                 answering=-1 if self._answering else 0, total=-1, body=-self._body)


def _full(why: str) -> PaddockError:
    return PaddockError(Code.QUEUE_FULL, f"{why}: try again later.", retry_after=RETRY_AFTER)
