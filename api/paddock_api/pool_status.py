"""What the operator says of a RuntimePool."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from paddock_api.fields import Status
from paddock_api.status import ByteCount, Conditions, Count, Handled, PodCount


class PoolConditionType(StrEnum):
    READY = "Ready"  # all pods are ready and have the configuration
    PROGRESSING = "Progressing"  # pods come, go or take up a new configuration
    DEGRADED = "Degraded"  # something needs a person: the message says what
    MEMORY_PRESSURE = "MemoryPressure"  # the memory of a pod is nearly used up


class PoolMemory(Status):
    """Memory of all pods together. Pods that do not report are not counted."""

    budget_bytes: Annotated[ByteCount | None, Field(description="What engines may take.")] = None
    charged_bytes: Annotated[ByteCount | None, Field(description="What is set aside for loaded models.")] = None
    measured_bytes: Annotated[ByteCount | None, Field(description="What engines really take (PSS).")] = None


class PoolModels(Status):
    """Models that name the pool, by state."""

    total: Annotated[Count, Field(description="Models that name the pool and may use it.")] = 0
    ready: Annotated[Count, Field(description="Models that are Ready.")] = 0
    failed: Annotated[Count, Field(description="Models that are not Ready, or Degraded.")] = 0


class RuntimePoolStatus(Status):
    """What is known of the pool."""

    observed_generation: Annotated[Count | None, Field(description=(
        "metadata.generation that this status speaks of."))] = None
    conditions: Annotated[Conditions, Field(description=(
        "Ready: all pods are ready and have the configuration. Progressing: pods come, go or take up a new "
        "configuration. Degraded: something needs a person; the message says what. MemoryPressure: the memory of a "
        "pod is nearly used up."))] = Field(default_factory=list)
    replicas: Annotated[PodCount | None, Field(description="Pods that exist.")] = None
    ready_replicas: Annotated[PodCount | None, Field(description="Pods that are ready.")] = None
    selector: Annotated[str | None, Field(max_length=1024, description=(
        "Label selector of the pods, for autoscalers."))] = None
    config_generation: Annotated[Count | None, Field(description=(
        "Number of the configuration that was last written for the pods."))] = None
    config_hash: Annotated[str | None, Field(max_length=64, description="Hash of that configuration.")] = None
    pods_in_sync: Annotated[PodCount | None, Field(description="Pods that report this hash as in force.")] = None
    memory: Annotated[PoolMemory | None, Field(description="Memory of all pods together.")] = None
    models: Annotated[PoolModels | None, Field(description="Models that name the pool, by state.")] = None
    last_handled_reconcile_at: Annotated[Handled | None, Field(description=(
        "The value of the annotation paddock.dev/reconcile-requested-at that was last obeyed."))] = None
