"""The status of a Model whose spec this version can't read: made by a newer one, or before a rule existed. Pure."""

from __future__ import annotations

from typing import Any

from paddock_api.canonical import short_hash
from paddock_api.manifest import ManifestError
from paddock_api.status import ConditionType
from paddock_operator.clock import timestamp
from paddock_operator.cluster.resources import Object
from paddock_operator.model.reasons import Reason, plain
from paddock_operator.model.story import Told


def invalid(raw: Object, error: ManifestError, now: float) -> tuple[dict[str, Any], list[Told]]:
    """The old status with Ready=False, and the event that tells of it."""
    status: dict[str, Any] = dict(raw.get("status") or {})
    old = next((each for each in status.get("conditions", ()) if each.get("type") == ConditionType.READY), None)
    ready = {
        "type": ConditionType.READY.value, "status": "False", "reason": Reason.INVALID_SPEC.value,
        "message": plain(error.message), "observedGeneration": raw["metadata"].get("generation", 0),
        "lastTransitionTime": old["lastTransitionTime"] if old and old.get("status") == "False" else timestamp(now)}
    others = [each for each in status.get("conditions", ()) if each.get("type") != ConditionType.READY]
    told = Told("Warning", Reason.INVALID_SPEC.value, ready["message"],
                short_hash({"uid": raw["metadata"]["uid"], "spec": raw["metadata"].get("generation")}))
    return {**status, "conditions": [*others, ready]}, [told]
