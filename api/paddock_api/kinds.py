"""The custom resources as data: their types, names, columns and subresources. A new kind is one more of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from paddock_api.model import Model
from paddock_api.model_hub import ModelHub
from paddock_api.runtime_pool import RuntimePool


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of `kubectl get`; priority 1 shows it only with -o wide."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One custom resource."""

    type: type[BaseModel]
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    scale: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.type.__name__


def _condition(kind: str, priority: int = 0) -> Column:
    return Column(name=kind, path=f'.status.conditions[?(@.type=="{kind}")].status', priority=priority)


MODEL = Kind(
    type=Model, plural="models", short_names=("mdl",),
    columns=(
        _condition("Ready"),
        _condition("Loaded"),
        Column(name="Replicas", path=".status.replicas.ready", type="integer", description="Pods that serve it now."),
        Column(name="Quant", path=".status.facts.quantization"),
        Column(name="Last-Used", path=".status.lastUsedTime", type="date"),
        Column(name="Age", path=".metadata.creationTimestamp", type="date"),
        Column(name="Reason", path='.status.conditions[?(@.type=="Ready")].reason', priority=1),
        _condition("Degraded", priority=1),
        Column(name="Parameters", path=".status.facts.parameters", type="integer", priority=1),
        Column(name="Memory", path=".status.memory.measuredBytes", type="integer", priority=1),
        Column(name="Revision", path=".status.activeRevision", priority=1),
    ),
)
RUNTIME_POOL = Kind(
    type=RuntimePool, plural="runtimepools", short_names=("rtp",),
    columns=(
        _condition("Ready"),
        Column(name="Pods", path=".status.readyReplicas", type="integer", description="Pods that are ready."),
        Column(name="Wanted", path=".spec.replicas", type="integer", description="Pods that are asked for."),
        Column(name="Memory", path=".spec.memory", description="Budget of each pod."),
        Column(name="Models", path=".status.models.total", type="integer", description="Models that name the pool."),
        Column(name="Age", path=".metadata.creationTimestamp", type="date"),
        Column(name="Reason", path='.status.conditions[?(@.type=="Ready")].reason', priority=1),
        _condition("Progressing", priority=1),
        _condition("Degraded", priority=1),
        Column(name="Charged", path=".status.memory.chargedBytes", type="integer", priority=1),
        Column(name="In-Sync", path=".status.podsInSync", type="integer", priority=1),
    ),
    scale={"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
           "labelSelectorPath": ".status.selector"},
)
MODEL_HUB = Kind(
    type=ModelHub, plural="modelhubs", short_names=("mhub",),
    columns=(
        _condition("Ready"),
        _condition("Stale"),
        Column(name="Entries", path=".status.catalog.entries", type="integer"),
        Column(name="Models", path=".status.imported.models", type="integer", description="Models made of entries."),
        Column(name="Last-Sync", path=".status.lastSyncTime", type="date"),
        Column(name="Age", path=".metadata.creationTimestamp", type="date"),
        Column(name="Reason", path='.status.conditions[?(@.type=="Ready")].reason', priority=1),
        Column(name="Suspended", path=".spec.suspend", type="boolean", priority=1),
        Column(name="Interval", path=".spec.interval", priority=1),
        Column(name="Next-Sync", path=".status.nextSyncTime", priority=1),
    ),
)
KINDS: tuple[Kind, ...] = (MODEL, RUNTIME_POOL, MODEL_HUB)
