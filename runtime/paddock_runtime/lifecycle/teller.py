"""What changes about a Model is told: on the bus, and to the requests that wait for it."""

from __future__ import annotations

from paddock_api.events import EventType
from paddock_api.state import Phase
from paddock_runtime.bus import Bus
from paddock_runtime.lifecycle.dispatch import Dispatcher
from paddock_runtime.lifecycle.engines import EnginePool
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.phases import phase_of, progress_of, why
from paddock_runtime.lifecycle.view import model_state
from paddock_runtime.system.clock import Clock

_PROGRESS_STEP = 0.01


class Teller:
    """Keeps the phase that was told last in each Model. `failing`: the Models with a failure that is remembered."""

    def __init__(self, pool: EnginePool, dispatcher: Dispatcher, bus: Bus, clock: Clock) -> None:
        self._pool, self._dispatcher, self._bus, self._clock = pool, dispatcher, bus, clock
        self.failing: set[Model] = set()

    def refresh(self, model: Model) -> None:
        """Tells of a new phase or of progress, if there is any."""
        units = self._pool.units
        phase, progress = phase_of(model, units, self._clock.monotonic()), progress_of(model, units)
        if phase is not model.phase:
            model.told_progress = progress
            self.enter(model, phase, **why(model, phase))
        elif progress is not None and abs(progress - (model.told_progress or 0.0)) >= _PROGRESS_STEP:
            model.told_progress = progress
            self._bus.publish(EventType.PROGRESS, model=str(model.id), revision=model.candidate.revision.id,
                              fraction=progress, of="fetch" if phase is Phase.FETCHING else "load")
            self._dispatcher.tell_waiting(model)
        self._tell_details(model)
        failing = any(target.failure is not None for target in model.targets()) and not model.removed
        (self.failing.add if failing else self.failing.discard)(model)

    def _tell_details(self, model: Model) -> None:
        """The rest of its state, when that changed. At first nobody needs to be told: it is in the configuration."""
        desired = model.desired
        now = (desired.revision.id, model.active, desired.facts, desired.failure, model.candidate.failure)
        if model.told is not None and now != model.told:
            state = model_state(model, self._pool.units, self._clock)
            self._bus.publish(EventType.MODEL, model=str(model.id), revision=state.revision,
                              state=state.model_dump(mode="json"))
        model.told = now

    def enter(self, model: Model, phase: Phase, **data: str) -> None:
        """`data` says why, in the event."""
        if model.phase is phase:
            return
        before, model.phase = model.phase, phase
        serving = model.active or model.candidate
        self._bus.publish(EventType.PHASE, model=str(model.id), revision=serving.revision.id,
                          **{"from": before.value, "to": phase.value, **data})
        self._dispatcher.tell_waiting(model)
