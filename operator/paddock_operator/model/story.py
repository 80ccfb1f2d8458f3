"""What `kubectl describe model` tells: an event for each turn that a Model's conditions take. Pure."""

from __future__ import annotations

from typing import NamedTuple

from paddock_api.canonical import short_hash
from paddock_api.status import Condition, ConditionType, ModelStatus
from paddock_operator.model.reasons import Reason

_NORMAL: dict[tuple[ConditionType, str, str], str] = {
    (ConditionType.RESOLVED, "True", Reason.RESOLVED): "Resolved",
    (ConditionType.CACHED, "False", Reason.FETCHING): "Downloading",
    (ConditionType.CACHED, "True", Reason.CACHED): "Cached",
    (ConditionType.LOADED, "False", Reason.LOADING): "Loading",
    (ConditionType.LOADED, "True", Reason.LOADED): "Loaded",
    (ConditionType.LOADED, "False", Reason.IDLE): "Unloaded",
    (ConditionType.LOADED, "False", Reason.EVICTED): "Evicted",
}
# Not loaded for no fault.
_QUIET = frozenset({Reason.NOT_LOADED, Reason.FETCHING, Reason.UNLOADING, Reason.NOT_CACHED, Reason.NOT_SERVABLE})


class Told(NamedTuple):
    """An event. `turn` is the same each time that the same turn is told, also by another process: events are named by
    it, and so written once."""

    type: str
    reason: str
    message: str
    turn: str


def story(uid: str, old: ModelStatus | None, new: ModelStatus) -> list[Told]:
    """The turns from `old` to `new`, in the order of the conditions."""
    before = {condition.type: condition for condition in (old.conditions if old is not None else ())}
    moved = old is not None and old.revision != new.revision
    told: list[Told] = []
    for condition in new.conditions:
        earlier = before.get(condition.type)
        again = condition.type == ConditionType.RESOLVED and moved
        if not again and earlier is not None and _pair(earlier) == _pair(condition):
            continue
        found = _event(condition, earlier)
        if found is not None and all(found[1] != known.reason for known in told):
            told.append(Told(*found, condition.message, _turn(uid, condition, earlier, new.revision)))
    return told


def _event(condition: Condition, earlier: Condition | None) -> tuple[str, str] | None:
    """(type, reason) of the event, if the turn is worth one."""
    kind, reason = ConditionType(condition.type), condition.reason
    normal = _NORMAL.get((kind, condition.status, reason))
    if normal is not None:
        return "Normal", normal
    if kind is ConditionType.DEGRADED:
        if condition.status == "True":
            return "Warning", "Degraded"
        return ("Normal", "Recovered") if earlier is not None and earlier.status == "True" else None
    if kind is ConditionType.READY and condition.status == "True":
        back = earlier is not None and earlier.status == "False" and reason == Reason.SERVABLE
        return ("Normal", "Ready") if back else None
    return ("Warning", reason) if condition.status == "False" and reason not in _QUIET else None


def _pair(condition: Condition) -> tuple[str, str]:
    return condition.status, condition.reason


def _turn(uid: str, condition: Condition, earlier: Condition | None, revision: str | None) -> str:
    came_from = [earlier.status, earlier.reason, earlier.last_transition_time] if earlier is not None else []
    return short_hash({"uid": uid, "type": condition.type, "from": came_from, "to": list(_pair(condition)),
                       "revision": revision})
