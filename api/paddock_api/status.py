"""What controllers say of a Model, and the words that all statuses share.

Every field is optional: a status holds what is known, and guesses nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from paddock_api.fields import Status

Time = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]
ByteCount = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
PodCount = Annotated[int, Field(ge=0, le=2**31 - 1)]  # what the scale subresource takes
Handled = Annotated[str, Field(max_length=256)]


class ConditionType(StrEnum):
    READY = "Ready"  # resolved and servable on request; nothing needs to be loaded
    LOADED = "Loaded"  # in memory somewhere
    RESOLVED = "Resolved"  # the source is pinned to commit, file, size and digest
    CACHED = "Cached"  # the file is verified in the cache of at least one pod
    DEGRADED = "Degraded"  # lastGood serves, since the wanted revision is bad


class Condition(Status):
    """One aspect of the state, as metav1.Condition has it."""

    type: Annotated[str, Field(min_length=1, max_length=316, description=(
        "The aspect, such as Ready."))]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="True, False or Unknown.")]
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                                 description="One word for programs that says why.")]
    message: Annotated[str, Field(max_length=32768, description="The same for people, with the remedy.")] = ""
    last_transition_time: Annotated[Time, Field(description="When status last changed.")]
    observed_generation: Annotated[Count | None, Field(description=(
        "metadata.generation that the condition speaks of."))] = None


Conditions = Annotated[list[Condition], Field(max_length=16, json_schema_extra={
    "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})]


class ModelFacts(Status):
    """What the resolved file is."""

    commit: Annotated[str | None, Field(max_length=255, description="Commit that the source is pinned to.")] = None
    file: Annotated[str | None, Field(max_length=1024, description="The file that was picked.")] = None
    sha256: Annotated[str | None, Field(max_length=64, description="Digest of the file.")] = None
    size_bytes: Annotated[ByteCount | None, Field(description="Size of the file in bytes.")] = None
    architecture: Annotated[str | None, Field(max_length=64, description="Architecture, as the file names it.")] = None
    parameters: Annotated[Count | None, Field(description="Number of parameters.")] = None
    quantization: Annotated[str | None, Field(max_length=64, description="Quantization, such as Q4_K_M.")] = None
    context_length: Annotated[Count | None, Field(description="Context length the model was trained for.")] = None


class MemoryStatus(Status):
    """What one replica needs while it is loaded."""

    estimated_bytes: Annotated[ByteCount | None, Field(description="Estimate before the load.")] = None
    measured_bytes: Annotated[ByteCount | None, Field(description="Measured share (PSS) of the last load.")] = None


class ReplicaStatus(Status):
    """Pods of the pool by what they do with the Model. Pods that do not report are not counted."""

    fetching: Annotated[Count, Field(description="Pods that download the file.")] = 0
    cached: Annotated[Count, Field(description="Pods that have the file and have not loaded it.")] = 0
    loading: Annotated[Count, Field(description="Pods that load it.")] = 0
    ready: Annotated[Count, Field(description="Pods that serve it now.")] = 0
    draining: Annotated[Count, Field(description="Pods that finish its last requests.")] = 0
    failed: Annotated[Count, Field(description="Pods where it failed.")] = 0


class ModelStatus(Status):
    """What is known of the Model."""

    observed_generation: Annotated[Count | None, Field(description=(
        "metadata.generation that this status speaks of."))] = None
    conditions: Annotated[Conditions, Field(description=(
        "Ready: servable on request (nothing needs to be loaded). Loaded: in memory somewhere. Resolved: the source is "
        "pinned. Cached: the file is in a pod's cache. Degraded: the last good revision serves instead of a bad one."))
    ] = Field(default_factory=list)
    revision: Annotated[str | None, Field(max_length=64, description="The revision that the spec asks for.")] = None
    active_revision: Annotated[str | None, Field(max_length=64, description=(
        "The revision that answers; differs from revision during a switch and while Degraded."))] = None
    facts: Annotated[ModelFacts | None, Field(description="What the resolved file is.")] = None
    memory: Annotated[MemoryStatus | None, Field(description="Bytes that one replica needs while loaded.")] = None
    replicas: Annotated[ReplicaStatus | None, Field(description="Pods of the pool by state.")] = None
    last_used_time: Annotated[Time | None, Field(description="When a request last used the Model.")] = None
    last_handled_reconcile_at: Annotated[Handled | None, Field(description=(
        "The value of the annotation paddock.dev/reconcile-requested-at that was last obeyed."))] = None
