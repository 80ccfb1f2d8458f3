"""The one owner of the lifecycle's state, on one event loop.

All that happens changes state and asks for a new decision; a decision looks at the whole state again. Nothing waits.
"""

from __future__ import annotations

import asyncio

from paddock_api.errors import PaddockError
from paddock_api.events import EventType
from paddock_api.state import Phase, Pressure
from paddock_runtime.bus import Bus
from paddock_runtime.lifecycle.decider import Decider
from paddock_runtime.lifecycle.dispatch import Dispatcher
from paddock_runtime.lifecycle.engines import EnginePool
from paddock_runtime.lifecycle.files import Check, Fetcher, Store
from paddock_runtime.lifecycle.foresight import Foresight
from paddock_runtime.lifecycle.health import Health
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.models import Model, Registry
from paddock_runtime.lifecycle.past import Past
from paddock_runtime.lifecycle.plan import superseded, wanted_since
from paddock_runtime.lifecycle.prompts import PromptCaches
from paddock_runtime.lifecycle.relieving import Relieving
from paddock_runtime.lifecycle.returning import take_up
from paddock_runtime.lifecycle.runs import Run
from paddock_runtime.lifecycle.spares import Spares
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.teller import Teller
from paddock_runtime.lifecycle.threads import divide
from paddock_runtime.lifecycle.units import Engine, EngineStage, Unit, UnitState
from paddock_runtime.lifecycle.verifier import Chat, Verifier, no_chat
from paddock_runtime.lifecycle.warmup import WarmUps
from paddock_runtime.lifecycle.watch import Learned
from paddock_runtime.record import Record
from paddock_runtime.system.clock import Clock
from paddock_runtime.usage.meter import UsageMeter


class Core:
    """Hears of requests (the dispatcher's Desk), of files (the fetcher's owner) and of children (the pool's owner)."""

    def __init__(self, store: Store, registry: Registry, bus: Bus, *, memory_bytes: int, cores: int, limits: Limits,
                 clock: Clock, check: Check, record: Record, version: str, chat: Chat = no_chat,
                 prompts: PromptCaches | None = None) -> None:
        self.registry, self.bus, self.limits, self.clock = registry, bus, limits, clock
        self.memory_bytes, self.cores = memory_bytes, cores
        self.learned = Learned(limits.learned_entries)
        self.past = Past(record, self.learned, bus=bus, clock=clock, limits=limits, version=version)
        self.health = Health()
        self.spares = Spares(registry.types, limits=limits, clock=clock)
        self.pool = EnginePool(self, bus, limits=limits, clock=clock, verify=store.verify, spares=self.spares,
                               prompts=prompts, cores=cores)
        self.relieving = Relieving(self, limits.pressure)
        self.prompts = prompts
        self._warmups = WarmUps(self)
        self.fetcher = Fetcher(self, store, concurrent=limits.concurrent_fetches, memory_bytes=memory_bytes,
                               check=check)
        self.dispatcher = Dispatcher(self, registry, limits=limits, clock=clock)
        self.usage = UsageMeter(registry, clock)
        self.foresight = Foresight(self)
        self.verifier = Verifier(self, bus, limits=limits, clock=clock, chat=chat, record=record)
        self._teller = Teller(self.pool, self.dispatcher, bus, clock)
        self._decider = Decider(self)

    # --- deciding

    def poke(self) -> None:
        """Something changed: decide anew, once, after all that happens in this moment."""
        self._decider.poke()

    def want(self, model: Model) -> None:
        self._decider.want(model)

    async def stop(self) -> None:
        """No more decisions; everything leaves memory. Returns when the last child is reaped."""
        self._decider.stop()
        await self.fetcher.close()
        await self.verifier.close()
        for unit in list(self.pool.units.values()):
            if unit.state is not UnitState.LEAVING:
                self.evict(unit, "shutdown")
        await asyncio.gather(self.pool.shut(), self.spares.close())
        if self.prompts is not None:
            await self.prompts.close()

    def tend_spares(self) -> None:
        """A spare child may be there while it is in nobody's way."""
        engines = self.pool.engines.values()
        self.spares.tend(
            room=self.memory_bytes - sum(engine.charged_bytes for engine in engines),
            calm=self.relieving.level is Pressure.OK, wanted=bool(self.registry.models),
            loading=any(engine.stage in (EngineStage.STARTING, EngineStage.LOADING) for engine in engines))

    # --- Models

    def evict(self, unit: Unit, reason: str, wanted_by: str | None = None) -> None:
        """Out of memory with it; `wanted_by` names the context that gets its room."""
        users = self.users(unit)
        for model in users:
            if wanted_by is None or wanted_by != model.candidate.context:
                model.switching_since = None  # it leaves for another; for its own next revision it comes back
            model.leaving = reason
            self._teller.enter(model, Phase.DRAINING, reason=reason)
        self.pool.close(unit)
        for model in users:
            self.settle(model)
            model.leaving = None

    def ready_unit(self, model: Model) -> Unit | None:
        return None if model.active is None else self._ready(model.active.context)

    def _ready(self, context: str | None) -> Unit | None:
        unit = None if context is None else self.pool.units.get(context)
        return unit if unit is not None and unit.state is UnitState.READY else None

    def users(self, unit: Unit) -> list[Model]:
        return list(self.registry.users(unit.key))

    def settle(self, model: Model) -> None:
        """Brings what serves in line with what is in memory, and with what should be."""
        self.registry.reindex(model)
        candidate = model.candidate
        if self.verifier.may_serve(model, ready=self._ready(candidate.context), active=self.ready_unit(model)):
            self._serves(model, candidate)
        elif self.ready_unit(model) is None:
            model.active = None
        serving = model.active is not None
        if model.active is candidate or model.removed or (serving and not superseded(model)):
            model.switching_since = None
        elif serving and model.switching_since is None:
            model.switching_since = self.clock.monotonic()
        if model.active is candidate:
            model.asked = model.kept_since = model.returning = None
        elif model.assigned and model.kept_since is None:
            model.kept_since = self.clock.monotonic()
        self.registry.reindex(model)
        self.refresh(model)
        if wanted_since(model) is not None or model.assigned or model.returning is not None:
            self.want(model)
        if model.active is candidate and (unit := self.ready_unit(model)) is not None:
            self._warmups.tend(unit)
        if model.removed and model.active is None and model in self.registry.leaving and not self._in_memory(model):
            self.registry.left(model)
            if self.prompts is not None and model.id not in self.registry.models:
                self.prompts.tidy(removed=[model.id])

    def _serves(self, model: Model, target: Target) -> None:
        if model.active is not target:
            model.active = target
            target.proven = True
            if (unit := self._ready(target.context)) is not None and model.queue:
                asyncio.get_running_loop().call_soon(self.dispatcher.admit, unit)

    def _in_memory(self, model: Model) -> bool:
        return any(target.context in self.pool.units for target in model.targets())

    def refresh(self, model: Model) -> None:
        """Tells of what is new about it, if anything is."""
        self._teller.refresh(model)
        self.past.look(model)

    def refresh_users(self, unit: Unit) -> None:
        for model in self.users(unit):
            self.refresh(model)

    @property
    def failing(self) -> set[Model]:
        """The Models with a failure that is remembered."""
        return self._teller.failing

    def target_failed(self, model: Model, target: Target, error: PaddockError, *, served: float | None = None) -> None:
        """Keeps the failure, and answers who waits unless waiting makes sense or an older revision can serve."""
        now = self.clock.monotonic()
        target.fail(error, limits=self.limits, now=now, served=served)
        model.asked = model.returning = None
        if model.active is None:
            model.switching_since = None
        self.settle(model)
        failure = model.candidate.failure
        if failure is not None and failure.blocks(now) and not failure.holds and self.ready_unit(model) is None:
            self.dispatcher.refuse_waiting(model, lambda: failure.error(now))
        self.poke()

    def verify_failed(self, model: Model, target: Target, error: PaddockError) -> None:
        """What served before had perhaps to leave for it: then it comes back, asked for or not."""
        switching = model.switching_since is not None
        self.target_failed(model, target, error)
        if switching and model.active is None and model.candidate is not target:
            model.asked = self.clock.monotonic()
            self.want(model)

    # --- what the dispatcher reports

    def demanded(self, model: Model) -> None:
        model.asleep = False
        self.foresight.wanted(model)
        unit, failure, now = self.ready_unit(model), model.candidate.failure, self.clock.monotonic()
        if unit is None and failure is not None and failure.blocks(now) and not failure.holds:
            self.dispatcher.refuse_waiting(model, lambda: failure.error(now))
            return
        if unit is not None and unit.dismissed:
            unit.dismissed = False
            self.refresh_users(unit)
            self.dispatcher.admit(unit)
        self.want(model)

    def unqueued(self, model: Model) -> None:
        if not model.queue:
            self.poke()

    def refused(self, model: Model, error: PaddockError) -> None:
        self.bus.publish(EventType.REQUEST_REFUSED, model=str(model.id), code=error.code.value)

    def asked(self, run: Run) -> None:
        self.foresight.asked(run)

    def began(self, run: Run, unit: Unit) -> None:
        self.usage.began(run, unit)

    def left(self, run: Run, unit: Unit) -> None:
        self.usage.left(run, unit)

    def occupied(self, unit: Unit) -> None:
        unit.engine.busy_until = float("inf")
        self.share_cores()

    def vacated(self, unit: Unit) -> None:
        for each in list(unit.engine.units.values()):
            self.dispatcher.admit(each)
        if not unit.engine.running:
            linger = self.limits.busy_linger
            unit.engine.busy_until = self.clock.monotonic() + linger
            asyncio.get_running_loop().call_later(linger * 1.1, self.share_cores)
        if not unit.running:
            self._warmups.tend(unit)
            self.poke()

    def share_cores(self) -> None:
        """Cores for the engines that compute; who just stopped keeps them for a moment, lest threads flap."""
        now = self.clock.monotonic()
        busy = [engine.key for engine in self.pool.engines.values() if engine.computing or engine.busy_until > now]
        for key, count in divide(self.cores, busy).items():
            self.pool.set_threads(self.pool.engines[key], count)

    # --- what the fetcher reports

    def fetch_changed(self, target: Target) -> None:
        model = self._model_of(target)
        if model is None:
            return
        if target.fetching or target.prepared is None:
            self.refresh(model)
            return
        if target.failure is not None and not target.failure.blocks(self.clock.monotonic()):
            target.failure = None  # else its load failed in an earlier life of the pod, and waits on
        self.registry.regroup(model, self.pool.units)
        self.settle(model)
        self.poke()

    def fetch_failed(self, target: Target, error: PaddockError) -> None:
        if (model := self._model_of(target)) is not None:
            self.target_failed(model, target, error)

    def _model_of(self, target: Target) -> Model | None:
        model = self.registry.models.get(target.model)
        return model if model is not None and target in model.targets() else None

    # --- what the pool of children reports

    def unit_ready(self, unit: Unit) -> None:
        take_up(unit, self.users(unit))
        for model in self.users(unit):
            for target in self._targets(model, unit):
                target.loaded()
            model.loads += 1
            model.given_up = 0
            self.settle(model)
        self.dispatcher.admit(unit)
        self._warmups.tend(unit)
        if self.prompts is not None:
            self.prompts.tidy(self.users(unit))
        self.share_cores()
        self.poke()

    def unit_progress(self, unit: Unit, fraction: float) -> None:
        unit.progress = fraction
        self.refresh_users(unit)

    def unit_failed(self, unit: Unit, error: PaddockError) -> None:
        for model in self.users(unit):
            for target in self._targets(model, unit):
                self.target_failed(model, target, error)

    def unit_stale(self, unit: Unit, error: PaddockError) -> None:
        """Its files are others now: what was known of them is void. Who waits, waits for the new look at them."""
        for model in self.users(unit):
            for target in self._targets(model, unit):
                target.prepared = None
                self.fetcher.start(target, urgent=True)

    def unit_gone(self, unit: Unit) -> None:
        self.dispatcher.unit_gone(unit)
        self.foresight.gone(unit)
        self.verifier.unit_gone(unit)
        for model in self.users(unit):
            self.registry.regroup(model, self.pool.units)
            self.settle(model)
        self.share_cores()
        self.poke()

    def engine_died(self, engine: Engine, error: PaddockError) -> None:
        self.dispatcher.engine_died(engine, error)
        now = self.clock.monotonic()
        for unit in list(engine.units.values()):
            if unit.state is not UnitState.READY:
                continue
            unit.state = UnitState.LEAVING
            for model in self.users(unit):
                for target in self._targets(model, unit):
                    self.target_failed(model, target, error, served=now - unit.loaded_at)

    def _targets(self, model: Model, unit: Unit) -> list[Target]:
        return [target for target in model.targets() if target.context == unit.key]
