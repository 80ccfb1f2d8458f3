"""Decisions: the scheduler is asked about the state of now, and what it answers is carried out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from paddock_runtime.lifecycle.deserted import deserted_until
from paddock_runtime.lifecycle.ends import no_fit_error, no_room_error
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.plan import resident, wanted, wanted_since
from paddock_runtime.lifecycle.returning import returns
from paddock_runtime.lifecycle.units import UnitState
from paddock_runtime.scheduler import Action, Budget, Decision, Evict, EvictReason, Load, Refuse, Wanted, decide

if TYPE_CHECKING:
    from paddock_runtime.lifecycle.core import Core

_log = logging.getLogger(__name__)


class Decider:
    """Asked as often as it takes; decides once for all that happens in one moment."""

    def __init__(self, core: Core) -> None:
        limits = core.limits
        self._core = core
        self._budget = Budget(
            memory_bytes=core.memory_bytes, concurrent_loads=limits.loads_at_once(core.cores),
            service_seconds=limits.service_seconds, points_per_second=limits.points_per_second,
            max_wait_seconds=limits.max_wait_seconds)
        self._restless: set[Model] = set()  # who may want a load
        self._due = False
        self._stopped = False
        self._alarm: asyncio.TimerHandle | None = None

    def poke(self) -> None:
        if not self._due and not self._stopped:
            self._due = True
            asyncio.get_running_loop().call_soon(self._decide)

    def want(self, model: Model) -> None:
        """`model` may have use for a load."""
        self._restless.add(model)
        self.poke()

    def stop(self) -> None:
        """No more decisions."""
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()

    def _decide(self) -> None:
        self._due = False
        if self._stopped:
            return
        try:
            self._decide_now()
        except Exception:  # noqa: BLE001 - the next one may succeed; if none does, /livez fails
            _log.exception("a decision failed")
        else:
            self._core.health.beat("the scheduler", self._core.clock.monotonic())

    def _decide_now(self) -> None:
        core, now = self._core, self._core.clock.monotonic()
        self._drop_orphans()
        give_up_at = self._give_up_deserted(now)
        retry_at = self._fetch_for_restless(now)
        wants = wanted(self._restless, core.learned, budget=core.memory_bytes, now=now)
        wants += core.foresight.wants({want.key for want in wants}, now)
        residents = [resident(unit, core.registry, now) for unit in core.pool.units.values()]
        order = core.relieving.take_order()
        budget = replace(self._budget, free_bytes=order, guess_bytes=core.foresight.budget_bytes)
        decision = decide(budget, residents, [] if core.relieving.holds else wants, now)
        self._take_turns(decision)
        by_key = {want.key: want for want in wants}
        for action in decision.actions:
            self._act(action, by_key)
        self._refuse_hopeless(decision.room_at)
        self._refuse_pressed(ordered=order > 0, actions=decision.actions)
        core.tend_spares()
        self._set_alarm(now, decision.wake_at, retry_at, give_up_at)

    def _drop_orphans(self) -> None:
        """Loads that nobody would use any more are given up, unless their weights are, or may be, about to be used."""
        prepared = [model.candidate.prepared for model in self._restless if model.candidate.failure is None]
        weights = {each.weights for each in prepared if each is not None}
        if None in prepared:
            return
        for unit in [unit for unit in self._core.pool.units.values() if unit.state is UnitState.LOADING]:
            if unit.engine.key not in weights and all(model.removed for model in self._core.users(unit)):
                self._core.evict(unit, "unwanted")

    def _give_up_deserted(self, now: float) -> float | None:
        """Ends loads that nobody has waited for in a while. Returns when the next one is due."""
        due: list[float] = []
        for unit in list(self._core.pool.units.values()):
            users = self._core.users(unit)
            until = deserted_until(unit, users, grace=self._core.limits.desert_seconds, now=now)
            if until is not None and until <= now:
                for model in users:
                    model.given_up += 1
                self._core.evict(unit, "deserted")
            elif until is not None:
                due.append(until)
        return min(due, default=None)

    def _fetch_for_restless(self, now: float) -> float | None:
        """Starts the fetches that loads wait for. Returns when the next blocked attempt is due."""
        retry_at: list[float] = []
        for model in list(self._restless):
            target, asked = model.candidate, wanted_since(model) is not None
            if model.removed or not (asked or (model.assigned and not model.asleep) or returns(model, now)):
                self._restless.discard(model)
            elif target.failure is not None and target.failure.blocks(now):
                if target.failure.retry_at is not None:
                    retry_at.append(target.failure.retry_at)
            elif target.prepared is None:
                self._core.fetcher.start(target, urgent=asked)
        return min(retry_at, default=None)

    def _set_alarm(self, now: float, *moments: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        due = min((moment for moment in moments if moment is not None), default=None)
        self._alarm = None if due is None else asyncio.get_running_loop().call_later(max(0.001, due - now), self.poke)

    def _take_turns(self, decision: Decision) -> None:
        # who is about to leave must not be opened for one last moment
        shut = decision.closed | {action.key for action in decision.actions if isinstance(action, Evict)}
        for unit in list(self._core.pool.units.values()):
            closed = unit.key in shut
            if unit.closed != closed:
                unit.closed = closed
                self._core.refresh_users(unit)
                if not closed:
                    self._core.dispatcher.admit(unit)

    def _act(self, action: Action, wants: dict[str, Wanted]) -> None:
        match action:
            case Load(key):
                self._load(wants[key])
            case Evict(key, reason, wanted_by):
                self._core.evict(self._core.pool.units[key], reason.value, wanted_by)
            case Refuse():
                self._refuse(action)

    def _load(self, want: Wanted) -> None:
        core = self._core
        model = next((model for model in self._restless if model.candidate.context == want.key), None)
        model = model or core.foresight.offered(want.key)
        if model is not None:
            unit = core.pool.open(model.candidate, weights_bytes=want.weights_bytes, threads=1)
            core.foresight.opened(unit)
            core.share_cores()
            core.refresh_users(unit)

    def _refuse_hopeless(self, room_at: Mapping[str, float]) -> None:
        """Where other pods may have room: who would wait here in vain is told so at once, and can ask them."""
        if self._core.registry.alone or not room_at:
            return
        for model in list(self._restless):
            due = room_at.get(model.candidate.context or "")
            if due is not None:
                self._core.dispatcher.refuse_hopeless(model, due, no_room_error)

    def _refuse_pressed(self, *, ordered: bool, actions: Iterable[Action]) -> None:
        """Where memory is short and nothing idle is left to unload, who waits for a load is told so at once."""
        core = self._core
        core.relieving.carried_out(ordered=ordered, evicted=any(
            isinstance(action, Evict) and action.reason is EvictReason.PRESSURE for action in actions))
        if not core.relieving.refuses:
            return
        for model in list(self._restless):
            if model.candidate.prepared is not None and model.candidate.context not in core.pool.units \
                    and core.ready_unit(model) is None:
                model.asked = None
                core.dispatcher.refuse_waiting(model, core.relieving.error)

    def _refuse(self, refusal: Refuse) -> None:
        for model in [model for model in self._restless if model.candidate.context == refusal.key]:
            if refusal.forever:
                self._core.target_failed(model, model.candidate, no_fit_error(refusal))
            else:
                model.asked = model.switching_since = None
                self._core.dispatcher.refuse_waiting(model, lambda: no_fit_error(refusal))
