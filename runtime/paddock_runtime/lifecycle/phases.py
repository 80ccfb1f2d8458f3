"""The phase of a Model, from what is known of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from paddock_api.state import Phase
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.units import Unit, UnitState


def unit_of(model: Model, units: Mapping[str, Unit]) -> Unit | None:
    """The context that serves the Model, or that is on its way to."""
    for target in (model.active, model.candidate):
        if target is not None and target.context is not None and (unit := units.get(target.context)) is not None:
            return unit
    return None


def phase_of(model: Model, units: Mapping[str, Unit], now: float) -> Phase:
    unit = unit_of(model, units)
    if unit is None:
        return _phase_at_rest(model, model.candidate, now)
    match unit.state:
        case UnitState.LOADING:
            return Phase.LOADING
        case UnitState.LEAVING:
            return Phase.UNLOADING
        case UnitState.READY:
            if unit.closed or unit.dismissed or model.removed:
                return Phase.DRAINING
            return Phase.LOADING if model.active is None else Phase.READY  # it may have to be verified


def _phase_at_rest(model: Model, target: Target, now: float) -> Phase:
    if model.removed:
        return Phase.ABSENT
    if target.fetching:
        return Phase.FETCHING
    if target.failure is not None and target.failure.blocks(now):
        return Phase.FAILED
    return Phase.ABSENT if target.prepared is None else Phase.CACHED


def progress_of(model: Model, units: Mapping[str, Unit]) -> float | None:
    """0…1 of what is under way, if something is and tells."""
    unit = unit_of(model, units)
    if unit is not None:
        return unit.progress if unit.state is UnitState.LOADING else None
    return model.candidate.progress if model.candidate.fetching else None


def why(model: Model, phase: Phase) -> dict[str, str]:
    """What the event of a new phase says of its cause."""
    failure = model.candidate.failure
    if phase is Phase.FAILED and failure is not None:
        return {"reason": failure.code.value, "message": failure.message}
    if phase in (Phase.DRAINING, Phase.UNLOADING) and model.leaving is not None:
        return {"reason": model.leaving}
    return {}
