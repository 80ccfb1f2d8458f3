"""All that is known at one moment, as values that never change: what choices are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from paddock_api.identity import ModelId
from paddock_api.naming import Named, NameIndex
from paddock_api.state import Phase


class PoolId(NamedTuple):
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A Model resource, as far as requests need it.

    `needed_bytes`: memory of one replica, if known. `created`: Unix seconds. `unready`: the reason of a Ready condition
    that is not True, if there is one."""

    id: ModelId
    pool: PoolId
    aliases: tuple[str, ...] = ()
    max_replicas: int | None = None
    needed_bytes: int | None = None
    created: int = 0
    unready: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolInfo:
    """A RuntimePool resource. `replicas`: the pods it asks for, if it says so."""

    id: PoolId
    replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One Model in one pod. `assigned`: the operator wants it there."""

    phase: Phase = Phase.ABSENT
    progress: float | None = None
    revision: str | None = None
    needed_bytes: int | None = None
    assigned: bool = False


_NOTHING = Held()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that is in service and has told what it holds. `life` is another after each of its restarts."""

    name: str
    pool: PoolId
    url: str
    life: str = ""
    draining: bool = False
    config_generation: int = 0
    budget_bytes: int = 0
    models: Mapping[ModelId, Held] = field(default_factory=dict)

    def held(self, model: ModelId) -> Held:
        return self.models.get(model, _NOTHING)


def _nothing() -> Mapping[ModelId, ModelInfo]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`silent`: for each pool, how many pods EndpointSlices name that are not ready or have told nothing yet."""

    models: Mapping[ModelId, ModelInfo] = field(default_factory=_nothing)
    names: NameIndex = field(default_factory=lambda: NameIndex(()))
    pools: Mapping[PoolId, PoolInfo] = field(default_factory=dict)
    pods: Mapping[PoolId, tuple[Pod, ...]] = field(default_factory=dict)
    silent: Mapping[PoolId, int] = field(default_factory=dict)


def name_index(models: Mapping[ModelId, ModelInfo]) -> NameIndex:
    return NameIndex(Named(model.id, model.aliases) for model in models.values())
