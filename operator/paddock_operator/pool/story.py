"""What `kubectl describe runtimepool` tells. Pure."""

from __future__ import annotations

from paddock_api.canonical import short_hash
from paddock_api.pool_status import PoolConditionType, RuntimePoolStatus
from paddock_operator.model.story import Told


def story(uid: str, old: RuntimePoolStatus | None, new: RuntimePoolStatus) -> list[Told]:
    """An event for each turn: something needs a person, or not any more; memory runs short; all is ready; pods
    come or go."""
    before = {each.type: each for each in (old.conditions if old is not None else ())}
    told = []
    for condition in new.conditions:
        earlier = before.get(condition.type)
        pair = (condition.status, condition.reason)
        if earlier is not None and (earlier.status, earlier.reason) == pair:
            continue
        came_from = [earlier.status, earlier.reason, earlier.last_transition_time] if earlier is not None else []
        kind = _event(condition.type, condition.status == "True", earlier is not None and earlier.status == "True")
        if kind is not None:
            turn = short_hash({"uid": uid, "type": condition.type, "from": came_from, "to": list(pair)})
            told.append(Told(kind, condition.reason, condition.message, turn))
    return told


def _event(kind: str, now: bool, before: bool) -> str | None:
    if kind in (PoolConditionType.DEGRADED, PoolConditionType.MEMORY_PRESSURE):
        return "Warning" if now else "Normal" if before else None
    return "Normal" if now else None
