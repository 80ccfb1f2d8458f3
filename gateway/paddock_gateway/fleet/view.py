"""What one pod says of itself, followed event by event. Pure.

The pod may be newer than this gateway: fields and words that are not known here are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from paddock_api.events import EventType
from paddock_api.identity import ModelId
from paddock_api.state import Phase
from paddock_gateway.fleet.snapshot import Held

T = TypeVar("T")


class OutOfStep(Exception):
    """Events were missed, or the pod has begun another life: a new snapshot is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """`life`: the pod's epoch. `sequence`: the last event that is in it."""

    life: str
    sequence: int
    draining: bool
    config_generation: int
    budget_bytes: int
    models: Mapping[ModelId, Held]


class _Model(msgspec.Struct):
    namespace: str
    name: str
    phase: str
    revision: str | None = None
    progress: float | None = None
    estimated_bytes: int | None = None
    measured_bytes: int | None = None
    assigned: bool = False


class _Memory(msgspec.Struct):
    budget_bytes: int


class _State(msgspec.Struct):
    epoch: str
    sequence: int
    config_generation: int
    memory: _Memory
    models: list[_Model]
    draining: bool = False


class _Event(msgspec.Struct):
    epoch: str
    sequence: int
    type: str
    model: str | None = None
    revision: str | None = None
    data: dict[str, msgspec.Raw] = {}


_state = msgspec.json.Decoder(_State)
_event = msgspec.json.Decoder(_Event)
_model = msgspec.json.Decoder(_Model)


def read_state(data: bytes | str) -> PodView:
    """From a PodState as JSON. Raises ValueError."""
    state = _decode(_state, data)
    return PodView(
        life=state.epoch, sequence=state.sequence, draining=state.draining, config_generation=state.config_generation,
        budget_bytes=state.memory.budget_bytes,
        models={ModelId(model.namespace, model.name): _held(model) for model in state.models})


def apply_event(view: PodView, data: bytes | str) -> tuple[PodView, bool]:
    """The view after an Event as JSON, and whether more changed than the event tells: then a new state is due.

    Raises OutOfStep, or ValueError for what is no Event."""
    event = _decode(_event, data)
    if event.epoch == view.life and event.sequence <= view.sequence:
        return view, False
    if event.epoch != view.life or event.sequence != view.sequence + 1:
        raise OutOfStep
    after = replace(view, sequence=event.sequence)
    if event.type == EventType.CONFIG:
        return after, True
    if event.type == EventType.DRAINING:
        return replace(after, draining=True), False
    if event.model is None:
        return after, False
    return _moved(after, event), False


def _moved(view: PodView, event: _Event) -> PodView:
    assert event.model is not None
    model = ModelId.parse(event.model)
    held = view.models.get(model, Held())
    if event.type == EventType.PHASE:
        held = replace(held, phase=_phase(_text(event.data.get("to"))), progress=None,
                       revision=event.revision or held.revision)
    elif event.type == EventType.MODEL:
        held = _held(_decode(_model, event.data.get("state", b"")))
    elif event.type == EventType.PROGRESS:
        held = replace(held, progress=_number(event.data.get("fraction")))
    else:
        return view
    return replace(view, models={**view.models, model: held})


def _held(model: _Model) -> Held:
    return Held(phase=_phase(model.phase), progress=model.progress, revision=model.revision,
                needed_bytes=model.measured_bytes or model.estimated_bytes, assigned=model.assigned)


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | str | msgspec.Raw) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"not what a pod should say: {error}") from error


def _phase(word: str | None) -> Phase:
    try:
        return Phase(word or "")
    except ValueError:
        return Phase.ABSENT


def _text(raw: msgspec.Raw | None) -> str | None:
    value = None if raw is None else msgspec.json.decode(raw)
    return value if isinstance(value, str) else None


def _number(raw: msgspec.Raw | None) -> float | None:
    value = None if raw is None else msgspec.json.decode(raw)
    return float(value) if isinstance(value, int | float) else None
