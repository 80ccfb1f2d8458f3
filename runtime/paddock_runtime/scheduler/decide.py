"""One scheduling decision.

With R residents and W wants one decision costs O(R log R + W log W + L * R log R), L being the number of wants it looks
ahead (a small multiple of the concurrent loads): linear in the waiting Models, of which there may be thousands.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence

from paddock_runtime.scheduler.room import Room
from paddock_runtime.scheduler.types import (
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
)

LOOK_AHEAD = 8  # wants planned for beyond those that may start now: enough to fill gaps, bounded for thousands


def decide(budget: Budget, residents: Sequence[Resident], wanted: Sequence[Wanted], now: float) -> Decision:
    """What to do now. Order of `residents` and `wanted` does not matter."""
    plan = _Plan(budget, residents, now)
    live = [want for want in wanted if _is_live(want, now) and not plan.satisfied(want)]
    possible = [want for want in live if not plan.refused(want)]
    plan.release()
    plan.relieve()
    line = heapq.nsmallest(budget.concurrent_loads + LOOK_AHEAD, possible, key=lambda want: _place(budget, want, now))
    for want in line:
        if plan.loading >= budget.concurrent_loads:
            break
        if want.guessed is None:
            plan.make_room(want)
        elif line[0].spare:  # while somebody waits, nothing is loaded on guesses
            plan.use_spare_room(want)
    return Decision(tuple(plan.actions), frozenset(plan.closed), plan.wake_at, plan.room_at)


def _is_live(want: Wanted, now: float) -> bool:
    return want.waiters > 0 and (want.deadline is None or want.deadline > now)


def _place(budget: Budget, want: Wanted, now: float) -> tuple[bool, float, bool, float, float, str]:
    """The place in line: asked before spare before guesses, overdue by age, then by priority that grows with waiting.
    What serves many soon goes before what serves one late: it holds up the others for less."""
    waited = now - want.since
    overdue = waited >= budget.max_wait_seconds
    share = max(1, want.context_bytes + want.weights_bytes) / budget.memory_bytes
    crowd = min(budget.crowd_points, want.waiters / share)
    aged = 0.0 if overdue else want.priority + waited * budget.points_per_second + crowd
    doubt = -1.0 if want.guessed is None else 1.0 - want.guessed
    return want.spare, doubt, not overdue, -aged, want.since, want.key


class _Plan:
    """The decision as it takes shape.

    `_now` counts what is in memory; `_then` what will be once all that was decided or reserved has happened. A load
    starts when it fits both: a later, smaller want may use a gap, but never the room that an earlier one waits for.
    """

    def __init__(self, budget: Budget, residents: Sequence[Resident], now: float) -> None:
        self._budget, self._clock = budget, now
        self._residents = {resident.key: resident for resident in residents}
        self._now = Room(residents)
        self._staying = {r.key: r for r in residents if r.state is not State.DRAINING}
        self._then = self._now.copy()
        for resident in residents:
            if resident.state is State.DRAINING:
                self._then.remove(resident)
        self._most = min(budget.memory_bytes, self._then.used - max(0, budget.free_bytes))
        self._leaving = {r.weights for r in residents} - {r.weights for r in self._staying.values()}
        self._pinned = Room(r for r in residents if r.pinned)
        # who loads on a guess makes way at once, so that it takes nobody's turn
        self.loading = sum(r.state is State.LOADING and r.guessed is None for r in residents)
        self._guessing = any(r.state is State.LOADING and r.guessed is not None for r in residents)
        guessed = any(r.guessed is not None for r in self._staying.values())
        sure = Room(r for r in self._staying.values() if r.guessed is None) if guessed else self._then
        self._on_guesses = self._then.used - sure.used
        self.actions: list[Action] = []
        self.closed: set[str] = set()
        self.wake_at: float | None = None
        self.room_at: dict[str, float] = {}

    def satisfied(self, want: Wanted) -> bool:
        return want.key in self._staying

    def refused(self, want: Wanted) -> bool:
        """Refuses what can't be made to fit. Spare wants just wait."""
        alone, pinned = want.context_bytes + want.weights_bytes, self._pinned.used_with(want)
        limit = self._budget.memory_bytes
        if max(alone, pinned) <= limit:
            return False
        if want.guessed is not None:
            return True
        if not want.spare or alone > limit:
            forever = alone > limit
            available = limit if forever else limit - self._pinned.used
            needed = alone if forever else pinned - self._pinned.used
            self.actions.append(Refuse(want.key, needed, available, forever))
        return True

    def release(self) -> None:
        """Evicts what no Model refers to, and what was idle too long."""
        for resident in list(self._staying.values()):
            if resident.state is not State.READY or resident.busy:
                continue
            if resident.unwanted:
                self._evict(resident, EvictReason.UNWANTED)
            elif not resident.waiting and not (resident.pinned or resident.kept):
                expires = max(resident.last_used, resident.loaded_at) + resident.idle_timeout
                expires = max(expires, resident.young_until)
                if expires <= self._clock:
                    self._evict(resident, EvictReason.IDLE)
                else:
                    self._wake(expires)

    def relieve(self) -> None:
        """Memory grew over the budget, or is short in the container: the least valuable idle contexts go."""
        while self._then.used > self._most:
            victim = next((r for r in self._candidates(None) if self._may_go(r, None) and not r.waiting), None)
            if victim is None:
                return
            self._evict(victim, EvictReason.PRESSURE)

    def make_room(self, want: Wanted) -> None:
        """Loads `want` if it fits; else evicts for it, or reserves the room that others are to leave."""
        victims = self._victims(want)
        if victims is None:
            return  # only earlier wants stand in its way
        room_at = max((self._leaves_at(victim, want) for victim in victims), default=-math.inf)
        if room_at > self._clock:
            self.room_at[want.key] = room_at
        for victim in victims:
            self._take_from(victim, want)
        self._then.add(want)
        fits = self._now.used_with(want) <= self._budget.memory_bytes
        if fits and want.weights not in self._leaving and want.key not in self._residents and not victims:
            self._now.add(want)
            self.loading += 1
            self.actions.append(Load(want.key))

    def use_spare_room(self, want: Wanted) -> None:
        """Loads a guess, one at a time and only while nothing else loads, into free room within the guesses' share."""
        used = self._then.used_with(want)
        share = self._on_guesses + used - self._then.used
        if self.loading or self._guessing or used > self._budget.memory_bytes or share > self._budget.guess_bytes:
            return
        if self._now.used_with(want) > self._budget.memory_bytes or want.weights in self._leaving \
                or want.key in self._residents:
            return
        self._guessing = True
        self._then.add(want)
        self._now.add(want)
        self.actions.append(Load(want.key))

    def _victims(self, want: Wanted) -> list[Resident] | None:
        """The contexts that must leave before `want` fits; None when that can't be."""
        limit, chosen = self._budget.memory_bytes, []
        if self._then.used_with(want) <= limit:
            return []
        candidates = self._candidates(want)
        if want.spare:
            candidates = [resident for resident in candidates if resident.guessed is not None]
        for resident in candidates:
            self._then.remove(resident)
            chosen.append(resident)
            if self._then.used_with(want) <= limit:
                break
        needed = [r for r in reversed(chosen) if not self._spared(r, want)]
        for resident in needed:
            self._then.add(resident)
        return needed[::-1] if self._fits_without(needed, want) else None

    def _spared(self, resident: Resident, want: Wanted) -> bool:
        """Puts `resident` back if `want` fits beside it."""
        self._then.add(resident)
        if self._then.used_with(want) <= self._budget.memory_bytes:
            return True
        self._then.remove(resident)
        return False

    def _fits_without(self, leaving: Iterable[Resident], want: Wanted) -> bool:
        leaving = list(leaving)
        for resident in leaving:
            self._then.remove(resident)
        fits = self._then.used_with(want) <= self._budget.memory_bytes
        for resident in leaving:
            self._then.add(resident)
        return fits

    def _candidates(self, want: Wanted | None) -> list[Resident]:
        """All that may ever leave, the first to go first."""
        return sorted((r for r in self._staying.values() if not r.pinned), key=lambda r: self._worth(r, want))

    def _worth(self, resident: Resident, want: Wanted | None,
               ) -> tuple[float, bool, float, bool, float, int, float, str]:
        """The order of leaving: guesses; those that can go at once by policy, value, priority and least recent use;
        then those that can go soonest. Only what does not change while a want waits may order these, or turns would
        flip."""
        sure = 2.0 if resident.guessed is None or resident.has_work else resident.guessed
        if self._may_go(resident, want):
            return (sure, False, 0.0, resident.kept, resident.value, resident.priority, resident.last_used,
                    resident.key)
        leaves_at = self._leaves_at(resident, want)
        return sure, True, leaves_at, resident.kept, 0.0, resident.priority, resident.loaded_at, resident.key

    def _may_go(self, resident: Resident, want: Wanted | None) -> bool:
        """Nothing runs in it, and its time is over."""
        if resident.guessed is not None and not resident.has_work:
            return resident.state is not State.DRAINING
        ready = resident.state is State.READY and not resident.busy
        return ready and self._leaves_at(resident, want) <= self._clock

    def _leaves_at(self, resident: Resident, want: Wanted | None) -> float:
        """When `resident` may be asked to leave for `want`."""
        if resident.guessed is not None and not resident.has_work:
            return -math.inf
        if resident.state is State.LOADING:
            return self._clock + resident.min_residency + self._budget.service_seconds
        if resident.unwanted or resident.superseded:
            return -math.inf
        if want is None or not resident.has_work:
            return resident.young_until
        # the turn: a busy context serves on for a while, counted from when the other began to wait for it
        turn = max(want.since, resident.loaded_at) + self._budget.service_seconds
        return max(turn, resident.young_until)

    def _take_from(self, victim: Resident, want: Wanted) -> None:
        if self._may_go(victim, want):
            self._evict(victim, EvictReason.ROOM, want.key)
            return
        leaves_at = self._leaves_at(victim, want)
        if leaves_at > self._clock:
            self._wake(leaves_at)
        elif victim.state is State.READY:
            self.closed.add(victim.key)
        self._remove(victim)

    def _evict(self, resident: Resident, reason: EvictReason, wanted_by: str | None = None) -> None:
        self.actions.append(Evict(resident.key, reason, wanted_by))
        self._remove(resident)

    def _remove(self, resident: Resident) -> None:
        self._then.remove(resident)
        del self._staying[resident.key]
        if not any(other.weights == resident.weights for other in self._staying.values()):
            self._leaving.add(resident.weights)

    def _wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)
