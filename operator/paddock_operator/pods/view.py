"""One pod as its stream tells of it: a snapshot, kept up by the changes after it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import ValidationError

from paddock_api.events import Event, EventType
from paddock_api.identity import ModelId
from paddock_api.state import Failure, ModelState, Phase, PodState, Pressure
from paddock_operator.pods.shared import Shared

_LEAVING = (Phase.DRAINING, Phase.UNLOADING)
_LAST_USED_STEP = 60.0
# After these the details of a snapshot (failures, memory, last use) may be others than the changes tell.
_NEW_DETAILS = frozenset({EventType.PHASE, EventType.CONFIG, EventType.ENGINE_STARTED, EventType.ENGINE_ENDED})


class Unreadable(ValueError):
    """The pod says something that is no state or event."""


class Gap(Exception):
    """Changes are missing, or the pod began a new life: take a new snapshot."""


class Left(NamedTuple):
    """Why and when (Unix seconds, by the pod's clock) a Model was unloaded."""

    why: str
    at: float


class Change(NamedTuple):
    """`models`: those that another state was told of. `pod`: the configuration in force, or the pod itself, changed.
    `details`: a new snapshot would tell more."""

    models: frozenset[ModelId]
    pod: bool
    details: bool


@dataclass
class PodView:
    """`models`: what it says of each, which is replaced and never changed; `state` holds the rest, its own list of them
    is emptied. `left`: how a Model was unloaded last, as long as it is not back. `shared` by all pods."""

    state: PodState
    shared: Shared = field(default_factory=Shared)
    models: dict[ModelId, ModelState] = field(init=False)
    left: dict[ModelId, Left] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models = self.shared.by_model(self.state.models)
        self.state.models = []

    def take(self, state: PodState) -> Change:
        """A newer snapshot. One that is older than what is known changes nothing."""
        if state.epoch == self.state.epoch and state.sequence < self.state.sequence:
            return Change(frozenset(), pod=False, details=False)
        before, old = self.models, self.state
        if state.epoch != old.epoch:
            self.left = {}
        self.state = state
        self.__post_init__()
        self.left = {model: why for model, why in self.left.items() if not _in_memory(self.models.get(model))}
        changed = {model for model in before.keys() | self.models.keys()
                   if _told(before.get(model)) != _told(self.models.get(model))}
        pod = (old.config_hash, old.config_error, old.draining, old.memory) \
            != (state.config_hash, state.config_error, state.draining, state.memory)
        return Change(frozenset(changed), pod=pod, details=False)

    def apply(self, event: Event) -> Change:
        """The next change. Raises Gap if it is not the next one."""
        if event.epoch != self.state.epoch or event.sequence > self.state.sequence + 1:
            raise Gap
        if event.sequence <= self.state.sequence:
            return Change(frozenset(), pod=False, details=False)
        self.state.sequence = event.sequence
        details = event.type in _NEW_DETAILS
        if event.type is EventType.PHASE and event.model is not None:
            return Change(frozenset({self._phase(event, _model_id(event.model))}), pod=False, details=details)
        if event.type is EventType.MODEL and event.model is not None:
            return Change(self._restated(event, _model_id(event.model)), pod=False, details=details)
        if event.type is EventType.CONFIG:
            return Change(frozenset(), pod=self._configured(event), details=details)
        if event.type is EventType.PRESSURE:
            return Change(frozenset(), pod=self._pressed(event), details=details)
        return Change(frozenset(), pod=False, details=details)

    def _pressed(self, event: Event) -> bool:
        memory = self.state.memory
        pressure = _pressure_of(event.data.get("to"))
        self.state.memory = memory.model_copy(update={"pressure": pressure})
        return pressure is not memory.pressure

    def _phase(self, event: Event, model: ModelId) -> ModelId:
        phase = _phase_of(event.data.get("to"))
        before = self.models.get(model) or ModelState(namespace=model.namespace, name=model.name, revision="",
                                                      phase=phase)
        state = before.model_copy(update={"phase": phase, "revision": event.revision or before.revision})
        self.models[model] = state
        reason = event.data.get("reason")
        if phase in _LEAVING and isinstance(reason, str):
            self.left[model] = Left(reason, event.time)
        elif phase is Phase.READY:
            self.left.pop(model, None)
        if phase is Phase.FAILED and isinstance(reason, str):
            state.failure = Failure(reason=reason, message=str(event.data.get("message") or reason), at=event.time)
        return model

    def _restated(self, event: Event, model: ModelId) -> frozenset[ModelId]:
        """What changes no phase, such as a switch of revisions that need no load, comes as the Model's whole state."""
        before, state = self.models.get(model), _model_state(event.data.get("state"))
        self.models[model] = state
        if _in_memory(state):
            self.left.pop(model, None)
        return frozenset({model}) if _told(before) != _told(state) else frozenset()

    def _configured(self, event: Event) -> bool:
        error, hash_ = event.data.get("error"), event.data.get("hash")
        before = self.state.config_hash, self.state.config_error
        self.state.config_error = error if isinstance(error, str) else None
        if isinstance(hash_, str) and error is None:
            self.state.config_hash = hash_
            self.state.config_generation = int(event.data.get("generation") or 0)
        return before != (self.state.config_hash, self.state.config_error)


def _told(state: ModelState | None) -> tuple[object, ...] | None:
    """What a status can show of it. Requests that come and go change nothing here."""
    if state is None:
        return None
    used = None if state.last_used is None else state.last_used // _LAST_USED_STEP
    return (state.revision, state.phase, state.failure, state.digest, state.file_bytes, state.estimated_bytes,
            state.measured_bytes, state.loads, used)


def read_state(text: str | bytes) -> PodState:
    """Fields that a newer pod adds are let go by. Raises Unreadable."""
    try:
        return PodState.model_validate_json(text, extra="ignore")
    except ValidationError as error:
        raise Unreadable(f"its state can't be read: {_first(error)}") from None


def read_event(text: str) -> Event:
    """Raises Gap for a type of event that this version does not know: a snapshot says it in known words. Raises
    Unreadable for what is no event."""
    try:
        return Event.model_validate_json(text, extra="ignore")
    except ValidationError as error:
        if all(problem["loc"] == ("type",) for problem in error.errors(include_url=False)):
            raise Gap from None
        raise Unreadable(f"its event can't be read: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def _model_id(text: str) -> ModelId:
    try:
        return ModelId.parse(text)
    except ValueError as error:
        raise Unreadable(str(error)) from None


def _model_state(value: object) -> ModelState:
    try:
        return ModelState.model_validate(value, extra="ignore")
    except ValidationError as error:
        raise Unreadable(f"the state of a Model can't be read: {_first(error)}") from None


def _phase_of(value: object) -> Phase:
    try:
        return Phase(str(value))
    except ValueError:
        raise Unreadable(f"{str(value)[:40]!r} is no phase of a Model") from None


def _pressure_of(value: object) -> Pressure:
    try:
        return Pressure(str(value))
    except ValueError:
        raise Unreadable(f"{str(value)[:40]!r} is no level of memory pressure") from None


def _in_memory(state: ModelState | None) -> bool:
    return state is not None and state.phase in (Phase.READY, Phase.LOADING)
