"""A pod over virtual time: engines that do what is decided, clients that come when the trace says.

A discrete-event simulation; what decides is a Strategy, the server's own or another. Simplified against the server:
a request takes as long as the trace says however many run beside it, a load as long as its Model says, nobody gives up
waiting, and nothing crashes.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass, field

from paddock_runtime.replay.report import Outcome
from paddock_runtime.replay.strategies import Strategy
from paddock_runtime.replay.trace import Candidate, Request, Trace
from paddock_runtime.scheduler import Budget, Decision, Evict, Load, Popularity, Refuse, Resident, State, Wanted

UNLOAD_SECONDS = 0.2  # from being told to leave until the memory is free
# While nobody waits, only time-outs can be decided: that happens at most so often, to make a day cheap to replay.
QUIET_SECONDS = 30.0


def replay(trace: Trace, budget: Budget, strategy: Strategy) -> Outcome:
    """Runs until the last request is served. O(log n) for each of its n events beside what `strategy` takes."""
    return _Pod(trace, budget, strategy).run()


@dataclass(slots=True)
class _Context:
    """One Model, in memory or not (`state` None). `queue` holds who waits: arrival and service seconds."""

    model: Candidate
    popularity: Popularity = field(default_factory=Popularity)
    state: State | None = None
    queue: deque[tuple[float, float]] = field(default_factory=deque)
    busy: int = 0
    loaded_at: float = 0.0
    last_used: float = 0.0
    closed: bool = False


class _Pod:
    def __init__(self, trace: Trace, budget: Budget, strategy: Strategy) -> None:
        self._trace, self._budget, self._strategy = trace, budget, strategy
        self._contexts = {model.key: _Context(model) for model in trace.models.values()}
        self._resident: dict[str, _Context] = {}
        self._waiting: dict[str, _Context] = {}  # they have a queue and no context that could take it
        self._kept = {key: each for key, each in self._contexts.items() if each.model.kept or each.model.pinned}
        self._events: list[tuple[float, int, str, str]] = []
        self._numbers = itertools.count()
        self._now = self._decided = 0.0
        self._due = bool(self._kept)
        self._alarm = math.inf
        self._outcome = Outcome()

    def run(self) -> Outcome:
        requests = iter(self._trace.requests)
        arrival = next(requests, None)
        while arrival is not None or self._events:
            if arrival is None and not self._works():
                break
            moment = self._events[0][0] if self._events else math.inf
            moment = moment if arrival is None else min(moment, arrival.time)
            self._now = moment
            while arrival is not None and arrival.time <= moment:
                self._arrive(arrival)
                arrival = next(requests, None)
            while self._events and self._events[0][0] <= moment:
                _, _, what, key = heapq.heappop(self._events)
                self._happen(what, self._contexts.get(key))
            if self._due or self._alarm <= moment:
                self._decide()
        self._outcome.seconds = self._now
        return self._outcome

    def _works(self) -> bool:
        return any(each.busy or each.queue for each in self._contexts.values())

    def _later(self, seconds: float, what: str, key: str = "") -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._numbers), what, key))

    def _arrive(self, request: Request) -> None:
        context = self._contexts[request.model]
        context.popularity.use(self._now)
        context.queue.append((self._now, request.service))
        self._admit(context)
        if context.queue and context.state is not State.READY:
            self._waiting[request.model] = context
            self._due = True

    def _happen(self, what: str, context: _Context | None) -> None:
        if context is None:  # an alarm
            return
        if what == "done":
            context.busy -= 1
            context.last_used = self._now
            self._admit(context)
            self._due = self._due or not context.busy
        elif what == "loaded":
            context.state, context.loaded_at, context.last_used = State.READY, self._now, self._now
            self._waiting.pop(context.model.key, None)
            self._admit(context)
            self._due = True
        elif what == "gone":
            context.state = None
            del self._resident[context.model.key]
            if context.queue:
                self._waiting[context.model.key] = context
            self._due = True

    def _admit(self, context: _Context) -> None:
        if context.state is not State.READY or context.closed:
            return
        while context.queue and context.busy < context.model.parallel:
            since, service = context.queue.popleft()
            self._outcome.waits.append(self._now - since)
            context.busy += 1
            context.last_used = self._now
            self._later(service, "done", context.model.key)

    def _decide(self) -> None:
        if not self._waiting and self._now < self._decided + QUIET_SECONDS and self._decided and not self._closed():
            self._wake(self._decided + QUIET_SECONDS)
            self._due = False
            return
        self._due, self._alarm, self._decided = False, math.inf, self._now
        residents = [self._seen(each) for each in self._resident.values()]
        decision = self._strategy(self._budget, residents, self._wants(), self._now)
        self._take_turns(decision)
        for action in decision.actions:
            match action:
                case Load(key):
                    self._load(self._contexts[key])
                case Evict(key):
                    self._evict(self._contexts[key])
                case Refuse(key):
                    context = self._contexts[key]
                    self._outcome.refused += len(context.queue)
                    context.queue.clear()
                    self._waiting.pop(key, None)
                    self._kept.pop(key, None)
        if decision.wake_at is not None:
            self._wake(max(decision.wake_at, self._now + 1e-3))

    def _closed(self) -> bool:
        return any(each.closed for each in self._resident.values())

    def _wake(self, at: float) -> None:
        if at < self._alarm:
            self._alarm = at
            self._later(at - self._now, "wake")

    def _seen(self, context: _Context) -> Resident:
        model = context.model
        assert context.state is not None
        return Resident(
            key=model.key, weights=model.weights, context_bytes=model.context_bytes, weights_bytes=model.weights_bytes,
            state=context.state, busy=context.busy, waiting=len(context.queue), last_used=context.last_used,
            loaded_at=context.loaded_at, min_residency=model.min_residency, idle_timeout=model.idle_timeout,
            priority=model.priority, pinned=model.pinned, kept=model.kept,
            use_rate=context.popularity.rate(self._now), load_seconds=model.load_seconds)

    def _wants(self) -> list[Wanted]:
        wants = [_want(each.model, each.queue[0][0], len(each.queue)) for each in self._waiting.values()]
        wants += [_want(each.model, 0.0, 1, spare=not each.model.pinned) for key, each in self._kept.items()
                  if each.state is None and key not in self._waiting]
        return wants

    def _take_turns(self, decision: Decision) -> None:
        shut = decision.closed | {action.key for action in decision.actions if isinstance(action, Evict)}
        for key, context in self._resident.items():
            if context.closed != (key in shut):
                context.closed = key in shut
                self._admit(context)

    def _load(self, context: _Context) -> None:
        self._resident[context.model.key] = context
        context.state, context.closed = State.LOADING, False
        self._outcome.loads += 1
        self._outcome.load_seconds += context.model.load_seconds
        self._later(context.model.load_seconds, "loaded", context.model.key)

    def _evict(self, context: _Context) -> None:
        context.state = State.DRAINING
        self._outcome.evictions += 1
        self._later(UNLOAD_SECONDS, "gone", context.model.key)


def _want(model: Candidate, since: float, waiters: int, *, spare: bool = False) -> Wanted:
    return Wanted(key=model.key, weights=model.weights, context_bytes=model.context_bytes,
                  weights_bytes=model.weights_bytes, since=since, priority=model.priority, waiters=waiters, spare=spare)
