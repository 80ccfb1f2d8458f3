"""Ways to decide that share the simulator: the scheduler's own, and the two that it is measured against.

The plain ones know no turns and no value. They keep to what is not theirs to choose: the budget, pinned contexts,
running work, and what Models were promised: idle time-outs and minimum residency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from paddock_runtime.scheduler import (
    Action,
    Budget,
    Decision,
    Evict,
    EvictReason,
    Load,
    Refuse,
    Resident,
    State,
    Wanted,
    decide,
)
from paddock_runtime.scheduler.room import Room

Strategy = Callable[[Budget, Sequence[Resident], Sequence[Wanted], float], Decision]
_Order = tuple[float, float, str]


def plain_lru(budget: Budget, residents: Sequence[Resident], wanted: Sequence[Wanted], now: float) -> Decision:
    """First come, first served; the least recently used goes."""
    return _plain(budget, residents, wanted, now,
                  line=lambda want: (0.0, want.since, want.key),
                  leaving=lambda resident: (0.0, resident.last_used, resident.key))


def priority_only(budget: Budget, residents: Sequence[Resident], wanted: Sequence[Wanted], now: float) -> Decision:
    """The highest priority is served first and leaves last, whatever the others wait; among equals like plain LRU."""
    return _plain(budget, residents, wanted, now,
                  line=lambda want: (-want.priority, want.since, want.key),
                  leaving=lambda resident: (resident.priority, resident.last_used, resident.key))


STRATEGIES: Mapping[str, Strategy] = {"paddock": decide, "lru": plain_lru, "priority": priority_only}


def _plain(budget: Budget, residents: Sequence[Resident], wanted: Sequence[Wanted], now: float, *,
           line: Callable[[Wanted], _Order], leaving: Callable[[Resident], _Order]) -> Decision:
    actions, closed = list[Action](), set[str]()
    staying = {each.key: each for each in residents if each.state is not State.DRAINING}
    wake_at = _let_idle_ones_go(staying, actions, now)
    here, then = Room(residents), Room(staying.values())
    loading = sum(each.state is State.LOADING for each in residents)
    present = {each.key for each in residents}
    for want in sorted((want for want in wanted if want.key not in staying), key=lambda want: (want.spare, line(want))):
        if loading >= budget.concurrent_loads:
            break
        if want.context_bytes + want.weights_bytes > budget.memory_bytes:
            actions.append(Refuse(want.key, want.context_bytes + want.weights_bytes, budget.memory_bytes, True))
            continue
        if want.spare and then.used_with(want) > budget.memory_bytes:
            continue
        goers = sorted((each for each in staying.values() if each.state is State.READY and not each.pinned),
                       key=lambda each: (each.young_until > now, each.has_work, leaving(each)))
        while then.used_with(want) > budget.memory_bytes and goers:
            victim = goers.pop(0)
            then.remove(staying.pop(victim.key))
            if victim.young_until > now:
                wake_at = min(victim.young_until, math.inf if wake_at is None else wake_at)
            elif victim.busy:
                closed.add(victim.key)  # it takes nothing new, and leaves when it is done
            else:
                actions.append(Evict(victim.key, EvictReason.ROOM, want.key))
        fits = here.used_with(want) <= budget.memory_bytes and then.used_with(want) <= budget.memory_bytes
        then.add(want)
        if fits and want.key not in present:
            here.add(want)
            loading += 1
            actions.append(Load(want.key))
    return Decision(tuple(actions), frozenset(closed), wake_at)


def _let_idle_ones_go(staying: dict[str, Resident], actions: list[Action], now: float) -> float | None:
    expiries = []
    for resident in list(staying.values()):
        if resident.state is not State.READY or resident.has_work or resident.pinned or resident.kept:
            continue
        expires = max(resident.last_used, resident.loaded_at) + resident.idle_timeout
        if expires <= now:
            actions.append(Evict(resident.key, EvictReason.IDLE))
            del staying[resident.key]
        else:
            expiries.append(expires)
    return min(expiries, default=None)
