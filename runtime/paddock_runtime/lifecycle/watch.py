"""Watching the children: what they take, whether they still move. Pure judgements; the supervisor acts on them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from paddock_api.errors import Code, PaddockError
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.units import Engine, EngineStage, UnitState

_MIB = 1 << 20


class Learned:
    """By how much an engine was seen to exceed what its header promised, by weights key. Bounded."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._excess: OrderedDict[str, int] = OrderedDict()
        self._tell: Callable[[str, int], None] | None = None

    def recall(self, excess: Mapping[str, int], *, tell: Callable[[str, int], None]) -> None:
        """Begins with what an earlier life saw; `tell` hears of what this one sees."""
        self._excess.update(excess)
        self._tell = tell

    def see(self, engine: Engine) -> None:
        """After a measurement."""
        contexts = engine.allowed - engine.weights_bytes
        excess = (engine.measured or 0) - contexts - engine.estimated_bytes
        if excess > self._excess.get(engine.key, 0):
            self._excess[engine.key] = excess
            if self._tell is not None:
                self._tell(engine.key, excess)
            self._excess.move_to_end(engine.key)
            while len(self._excess) > self._entries:
                self._excess.popitem(last=False)

    def weights_bytes(self, key: str, estimated: int, *, context_bytes: int, budget: int) -> int:
        """The estimate with what was learned. Never so much that what fitted by its header can fit no more: a leak
        that was ended must not shut its Model out for good."""
        room = max(estimated, budget - context_bytes)
        return min(room, estimated + self._excess.get(key, 0))


def over_charge(engine: Engine, limits: Limits) -> int:
    """Bytes by which a child exceeds what it may; 0 when it does not."""
    allowance = max(limits.over_charge_fraction * engine.allowed, limits.over_charge_bytes)
    return max(0, (engine.measured or 0) - engine.allowed - int(allowance))


def to_end(engines: Iterable[Engine], budget: int, limits: Limits) -> list[tuple[Engine, PaddockError]]:
    """The children to end for their memory: who exceeds its allowance, and when all together exceed the budget,
    who exceeds its charge the most."""
    alive = [engine for engine in engines if engine.stage is not EngineStage.ENDING and engine.measured is not None]
    ended = [(engine, _too_much(engine)) for engine in alive if over_charge(engine, limits)]
    chosen = {engine.key for engine, _ in ended}
    total = sum(engine.measured or 0 for engine in alive if engine.key not in chosen)
    rest = sorted((engine for engine in alive if engine.key not in chosen), key=_excess, reverse=True)
    for engine in rest:
        if total <= budget or _excess(engine) <= 0:
            break
        ended.append((engine, _too_much(engine)))
        total -= engine.measured or 0
    return ended


def _excess(engine: Engine) -> int:
    return (engine.measured or 0) - engine.allowed


def _too_much(engine: Engine) -> PaddockError:
    return PaddockError(
        Code.ENGINE_OOM, f"the engine took {(engine.measured or 0) // _MIB} MiB, but was charged "
        f"{engine.allowed // _MIB} MiB; it was ended before it could harm others, and is charged more next time")


def hung(engine: Engine, now: float, limits: Limits) -> PaddockError | None:
    """Why the child counts as stuck, if it does."""
    if engine.stage is EngineStage.ENDING:
        return None
    silent = now - engine.client.last_report
    if engine.stage is EngineStage.STARTING:
        if now - engine.started_at > limits.start_timeout:
            return PaddockError(
                Code.LOAD_FAILED, f"the engine said nothing for {limits.start_timeout:.0f} s after its start")
        return None
    if engine.stage is EngineStage.LOADING:
        if silent > limits.load_stall or now - engine.started_at > limits.load_timeout:
            return PaddockError(Code.LOAD_FAILED, f"the load made no progress for {silent:.0f} s")
        return None
    changing = [unit for unit in engine.units.values() if unit.state is not UnitState.READY]
    if changing:  # a large cache takes its time, and its child may be silent meanwhile
        slowest = max(now - unit.since for unit in changing)
        if slowest > limits.open_timeout:
            return PaddockError(Code.ENGINE_HUNG, f"the engine did not open or close a context in {slowest:.0f} s")
        return None
    if silent > limits.stats_timeout:
        return PaddockError(Code.ENGINE_HUNG, f"the engine gave no sign of life for {silent:.0f} s and was ended")
    stuck = now - engine.stepped_at
    if engine.stats is not None and engine.stats.busy and stuck > limits.step_timeout:
        return PaddockError(Code.ENGINE_HUNG, f"the engine finished no step for {stuck:.0f} s and was ended")
    return None


def forgive_lag(engines: Iterable[Engine], lag: float) -> None:
    """We were stopped for `lag` seconds ourselves: the children had no chance to be heard."""
    for engine in engines:
        engine.client.last_report += lag
        engine.started_at += lag
        engine.stepped_at += lag
        for unit in engine.units.values():
            unit.since += lag
