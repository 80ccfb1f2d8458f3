"""The one stream of changes. Metrics, `/events`, the log and every watcher feed from it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class EventType(StrEnum):
    PHASE = "phase"  # a Model moved: data.from, data.to, data.reason?
    PROGRESS = "progress"  # data.fraction, data.of = fetch | load
    MODEL = "model"  # what /state says of a Model changed beside its phase: data.state
    DRAINING = "draining"  # the pod is about to end: it takes new work for a few seconds only
    CONFIG = "config"  # a configuration was accepted or refused: data.generation, data.hash, data.error?
    VERIFY = "verify"  # data.outcome = passed | failed, data.checks, data.seconds, data.distances, data.evidence?
    ENGINE_STARTED = "engine_started"  # data.engine, data.pid
    ENGINE_ENDED = "engine_ended"  # data.engine, data.pid, data.code, data.reason, data.requests
    REQUEST_REFUSED = "request_refused"  # data.code
    PRESSURE = "pressure"  # memory comes near its limits, or is clear of them: data.from, data.to, data.why
    MEMORY = "memory"  # data.charged_bytes, data.measured_bytes, data.budget_bytes


class Event(BaseModel):
    """`epoch` names one life of the pod, `sequence` counts within it: a reader that sees a gap or a new epoch
    takes a new snapshot. `time` is Unix seconds."""

    model_config = ConfigDict(extra="forbid")

    epoch: str
    sequence: int
    time: float
    type: EventType
    model: str | None = None
    revision: str | None = None
    data: dict[str, Any] = {}
