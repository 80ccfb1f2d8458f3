"""The scheduler over virtual time, against whatever hypothesis thinks of: what must hold at every moment."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from paddock_runtime.scheduler import (
    Budget,
    Evict,
    EvictReason,
    Load,
    Popularity,
    Refuse,
    Resident,
    State,
    Wanted,
    decide,
)

# binary fractions: virtual time adds up exactly
LOAD_SECONDS, DRAIN_SECONDS, LONGEST_REQUEST = 2.0, 0.5, 20.0
MEMORY = 100
BUDGET = Budget(
    memory_bytes=MEMORY, concurrent_loads=2, service_seconds=4.0, points_per_second=1.0, max_wait_seconds=30.0)


@dataclass(frozen=True)
class Kind:
    """What a Model is like."""

    name: str
    weights: str
    context_bytes: int
    weights_bytes: int
    priority: int
    min_residency: float
    idle_timeout: float
    pinned: bool


@dataclass
class Context:
    kind: Kind
    state: State = State.LOADING
    busy: int = 0
    loaded_at: float = 0.0
    last_used: float = 0.0
    closed: bool = False


@dataclass
class World:
    """Engines that obey the scheduler, and clients that don't."""

    kinds: dict[str, Kind]
    now: float = 0.0
    contexts: dict[str, Context] = field(default_factory=dict)
    waiting: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # (since, duration) by Model
    popularity: dict[str, Popularity] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    longest_wait: float = 0.0
    loads: list[str] = field(default_factory=list)
    _events: list[tuple[float, int, str, str]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def arrive(self, name: str, duration: float) -> None:
        self.popularity.setdefault(name, Popularity()).use(self.now)
        self.waiting.setdefault(name, []).append((self.now, duration))
        self.settle()

    def run_until(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            at, _, what, name = heapq.heappop(self._events)
            self.now = max(self.now, at)
            self._happen(what, name)
            self.settle()
        self.now = end
        self.settle()

    def settle(self) -> None:
        self._admit()
        for _ in range(20):
            if not self._decide():
                return
            self._admit()
        raise AssertionError("the scheduler does not come to rest")

    @property
    def used(self) -> int:
        weights = {context.kind.weights: context.kind.weights_bytes for context in self.contexts.values()}
        return sum(weights.values()) + sum(context.kind.context_bytes for context in self.contexts.values())

    def _later(self, seconds: float, what: str, name: str) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), what, name))

    def _happen(self, what: str, name: str) -> None:
        context = self.contexts.get(name)
        if what == "loaded" and context is not None:
            context.state, context.loaded_at, context.last_used = State.READY, self.now, self.now
        elif what == "gone":
            del self.contexts[name]
        elif what == "done" and context is not None:
            context.busy -= 1
            context.last_used = self.now

    def _admit(self) -> None:
        for name, context in self.contexts.items():
            if context.state is State.READY and not context.closed:
                for since, duration in self.waiting.pop(name, []):
                    self.longest_wait = max(self.longest_wait, self.now - since)
                    context.busy += 1
                    self._later(duration, "done", name)

    def _residents(self) -> list[Resident]:
        return [Resident(
            key=name, weights=context.kind.weights, context_bytes=context.kind.context_bytes,
            weights_bytes=context.kind.weights_bytes, state=context.state, busy=context.busy,
            waiting=len(self.waiting.get(name, [])), last_used=context.last_used, loaded_at=context.loaded_at,
            min_residency=context.kind.min_residency, idle_timeout=context.kind.idle_timeout,
            priority=context.kind.priority, pinned=context.kind.pinned, load_seconds=LOAD_SECONDS,
            use_rate=self.popularity[name].rate(self.now)) for name, context in self.contexts.items()]

    def _wants(self) -> list[Wanted]:
        return [Wanted(
            key=name, weights=kind.weights, context_bytes=kind.context_bytes, weights_bytes=kind.weights_bytes,
            since=min(since for since, _ in self.waiting[name]), priority=kind.priority,
            waiters=len(self.waiting[name])) for name, kind in self.kinds.items() if self.waiting.get(name)]

    def _decide(self) -> bool:
        decision = decide(BUDGET, self._residents(), self._wants(), self.now)
        for name, context in self.contexts.items():
            context.closed = name in decision.closed
        for action in decision.actions:
            match action:
                case Load(key):
                    self._load(key)
                case Evict(key, reason):
                    self._evict(key, reason)
                case Refuse(key, needed, available, _):
                    assert needed > available
                    self.refused.add(key)
                    del self.waiting[key]
        if decision.wake_at is not None:
            assert decision.wake_at > self.now
            self._later(decision.wake_at - self.now, "wake", "")
        return bool(decision.actions)

    def _load(self, key: str) -> None:
        assert key not in self.contexts, "loaded twice"
        assert self.waiting.get(key), "loaded for nobody"
        self.contexts[key] = Context(self.kinds[key])
        assert self.used <= MEMORY, "over the budget"
        assert sum(context.state is State.LOADING for context in self.contexts.values()) <= BUDGET.concurrent_loads
        self.loads.append(key)
        self._later(LOAD_SECONDS, "loaded", key)

    def _evict(self, key: str, reason: EvictReason) -> None:
        victim = self.contexts[key]
        assert victim.state is State.READY, "evicted while it loads or leaves"
        assert victim.busy == 0, "evicted while busy"
        assert not victim.kind.pinned, "evicted though pinned"
        assert self.now >= victim.loaded_at + victim.kind.min_residency, "evicted too young"
        if reason is EvictReason.IDLE:
            assert not self.waiting.get(key), "timed out while somebody waits"
            assert self.now - victim.last_used >= victim.kind.idle_timeout
        victim.state = State.DRAINING
        self._later(DRAIN_SECONDS, "gone", key)


def kinds() -> st.SearchStrategy[list[Kind]]:
    """Two to six Models; some share weights."""
    sizes = st.tuples(st.integers(1, 40), st.sampled_from(["w0", "w1", "w2", ""]))
    traits = st.tuples(st.sampled_from([-10, 0, 0, 30]), st.sampled_from([0.0, 3.0]), st.sampled_from([0.0, 10.0, 1e6]),
                       st.sampled_from([False, False, False, True]))
    weights = {"w0": 10, "w1": 30, "w2": 60}

    def build(drawn: list[tuple[tuple[int, str], tuple[int, float, float, bool]]]) -> list[Kind]:
        return [Kind(f"m{number}", shared or f"own{number}", size, weights.get(shared, 30), *trait)
                for number, ((size, shared), trait) in enumerate(drawn)]

    return st.lists(st.tuples(sizes, traits), min_size=2, max_size=6).map(build)


class Machine(RuleBasedStateMachine):
    world: World

    @initialize(models=kinds())
    def begin(self, models: list[Kind]) -> None:
        self.world = World({kind.name: kind for kind in models})

    @rule(number=st.integers(0, 5), duration=st.sampled_from([0.0, 0.25, 2.0, LONGEST_REQUEST]))
    def a_request_arrives(self, number: int, duration: float) -> None:
        names = sorted(self.world.kinds)
        self.world.arrive(names[number % len(names)], duration)

    @rule(seconds=st.sampled_from([0.125, 0.5, 2.0, 6.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.run_until(self.world.now + seconds)

    @invariant()
    def within_the_budget(self) -> None:
        assert not hasattr(self, "world") or self.world.used <= MEMORY

    def teardown(self) -> None:
        """Whatever went before: all who wait are served in a bounded time, without any further request."""
        if hasattr(self, "world"):
            self.world.run_until(self.world.now + bound(len(self.world.kinds)))
            assert not any(self.world.waiting.values()), f"{self.world.waiting} starved"
            assert self.world.longest_wait <= bound(len(self.world.kinds))


def bound(models: int) -> float:
    """Each Model before it may load, serve its turn, finish its longest request and drain."""
    one = LOAD_SECONDS + max(BUDGET.service_seconds, 3.0) + LONGEST_REQUEST + DRAIN_SECONDS
    return BUDGET.max_wait_seconds + 2 * models * one


TestSimulation = Machine.TestCase
TestSimulation.settings = settings(max_examples=100, stateful_step_count=30)


def plain(name: str, size: int, priority: int = 0) -> Kind:
    return Kind(name, f"w-{name}", 1, size - 1, priority, 0.0, 1e6, pinned=False)


def test_an_endless_stream_of_important_requests_starves_nobody() -> None:
    """Five Models of high priority, always wanted and never idle, room for two; one of the lowest priority waits."""
    hot = [plain(f"hot{number}", 50, 1000) for number in range(5)]
    world = World({kind.name: kind for kind in [*hot, plain("cold", 90, -1000)]})
    for step in range(2000):
        world.arrive(f"hot{step % 5}", 1.5)
        if step == 100:
            world.arrive("cold", 1.0)
        world.run_until(world.now + 0.1)
    assert "cold" in world.loads
    assert not world.waiting.get("cold")
    assert world.longest_wait <= bound(6)


def test_alternating_requests_are_grouped() -> None:
    """Eight clients that ask A, B, A, B … with room for one: far fewer loads than requests."""
    world = World({kind.name: kind for kind in (plain("a", 60), plain("b", 60))})
    for step in range(400):
        world.arrive("ab"[step % 2], 0.2)
        world.run_until(world.now + 0.1)
    world.run_until(world.now + 30)
    assert not any(world.waiting.values())
    assert len(world.loads) <= 20, f"{len(world.loads)} loads for 400 requests"


def test_a_favourite_stays_while_many_are_asked_for_once() -> None:
    """Room for two. Least recent use would drop the favourite each time that two others came between."""
    world = World({kind.name: kind for kind in [plain("favourite", 50), *(plain(f"once{n}", 50) for n in range(30))]})
    for step in range(30):
        world.arrive("favourite", 0.5)
        world.run_until(world.now + 5)
        world.arrive("favourite", 0.5)
        world.run_until(world.now + 25)
        world.arrive(f"once{step}", 0.5)
        world.run_until(world.now + 20)
    assert world.loads.count("favourite") == 1
    assert len(world.loads) == 31


def test_popularity_fades_fast_at_first_and_then_slowly() -> None:
    once, often = Popularity(), Popularity()
    once.use(0.0)
    for minute in range(60):
        often.use(60.0 * minute - 3600.0)
    assert once.rate(0.0) > often.rate(60.0), "what goes on now counts more than an hour ago"
    assert often.rate(600.0) > 10 * once.rate(600.0)
    assert once.rate(10.0) > once.rate(20.0) > 0
    assert once.rate(1e9) == 0.0
