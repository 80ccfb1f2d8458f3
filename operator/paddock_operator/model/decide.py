"""A Model's whole status, from what is known. Pure."""

from __future__ import annotations

from typing import Any

from paddock_api.cluster_names import ANNOTATION_RECONCILE
from paddock_api.status import MemoryStatus, ModelFacts, ModelStatus
from paddock_operator.clock import timestamp
from paddock_operator.model.conditions import conditions
from paddock_operator.model.inputs import Failed, Input, NotTried, Pinned

# What moves all the time is written along with other news, or when it moved this far.
_LAST_USED_STEP = 300.0
_MEASURED_STEP = 0.05


def decide(given: Input) -> ModelStatus:
    old = given.model.status or ModelStatus()
    facts = _facts(given, old)
    return ModelStatus(
        observed_generation=given.model.metadata.generation,
        conditions=conditions(given),
        revision=_revision(given, old),
        active_revision=given.picture.active or old.active_revision,
        facts=facts if facts != ModelFacts() else None,
        memory=_memory(given, old),
        replicas=given.picture.replicas if given.picture.reporting else _kept_replicas(given, old),
        last_used_time=_last_used(given, old),
        last_handled_reconcile_at=given.model.metadata.annotations.get(ANNOTATION_RECONCILE))


def document(status: ModelStatus) -> dict[str, Any]:
    """As it is written: what is not known is left out."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _revision(given: Input, old: ModelStatus) -> str | None:
    return old.revision if isinstance(given.outcome, NotTried) else given.wanted


def _kept_replicas(given: Input, old: ModelStatus) -> Any:
    return old.replicas if given.picture.pending else None


def _facts(given: Input, old: ModelStatus) -> ModelFacts:
    """What the resolution tells; the pods fill in what it can't read."""
    if not isinstance(given.outcome, Pinned):
        return old.facts or ModelFacts()
    known = given.outcome.facts
    if old.revision == given.outcome.revision and old.facts is not None:
        told = known.model_dump(exclude_none=True)
        known = old.facts.model_copy(update=told)
    return known.model_copy(update={
        "sha256": known.sha256 or given.picture.digest,
        "size_bytes": known.size_bytes if known.size_bytes is not None else given.picture.file_bytes})


def _memory(given: Input, old: ModelStatus) -> MemoryStatus | None:
    before = old.memory or MemoryStatus()
    same = old.revision == given.wanted
    estimated = given.outcome.estimated if isinstance(given.outcome, Pinned) else None
    if estimated is None:
        estimated = given.picture.estimated or (before.estimated_bytes if same else None)
    measured = given.picture.measured
    if measured is None or _near(measured, before.measured_bytes):
        measured = before.measured_bytes
    if isinstance(given.outcome, Failed | NotTried) and estimated is None:
        estimated = before.estimated_bytes
    found = MemoryStatus(estimated_bytes=estimated, measured_bytes=measured)
    return found if found != MemoryStatus() else None


def _near(measured: int, before: int | None) -> bool:
    return before is not None and abs(measured - before) <= _MEASURED_STEP * before


def _last_used(given: Input, old: ModelStatus) -> str | None:
    if given.picture.last_used is None:
        return old.last_used_time
    now = timestamp(given.picture.last_used)
    earlier = timestamp(given.picture.last_used - _LAST_USED_STEP)
    # Times in this form sort as text.
    return now if old.last_used_time is None or old.last_used_time <= earlier else old.last_used_time
