"""Told turns as Event objects, named by the turn: however often one is written, it is there once. Pure."""

from __future__ import annotations

from paddock_api.cluster_names import FIELD_MANAGER
from paddock_operator.clock import timestamp
from paddock_operator.cluster.resources import EVENTS, Object
from paddock_operator.model.reasons import plain
from paddock_operator.model.story import Told

_MAX_NAME = 253 - 17


def event(told: Told, about: Object, *, instance: str, now: float) -> Object:
    """`about`: the object that it happened to. `now`: Unix seconds."""
    metadata, time = about["metadata"], timestamp(now)
    return {
        "apiVersion": EVENTS.api_version, "kind": EVENTS.kind,
        "metadata": {"name": f"{metadata['name'][:_MAX_NAME]}.{told.turn}", "namespace": metadata["namespace"]},
        "involvedObject": {"apiVersion": about["apiVersion"], "kind": about["kind"], "name": metadata["name"],
                           "namespace": metadata["namespace"], "uid": metadata["uid"],
                           "resourceVersion": metadata.get("resourceVersion", "")},
        "type": told.type, "reason": told.reason, "message": plain(told.message), "action": told.reason,
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
        "source": {"component": FIELD_MANAGER}, "reportingComponent": FIELD_MANAGER, "reportingInstance": instance,
    }
