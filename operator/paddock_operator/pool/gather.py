"""What a pool's configuration is made from: its Models, with their revisions and what they need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paddock_api.identity import ModelId
from paddock_api.manifest import ManifestError
from paddock_api.model import Model
from paddock_api.pool import PoolConfig, PoolEntry
from paddock_api.pool_settings import PoolSettings
from paddock_api.pool_status import PoolModels
from paddock_api.revision import Revision
from paddock_api.runtime_pool import RuntimePool
from paddock_api.status import ConditionType, ModelStatus
from paddock_operator.cluster.resources import Object
from paddock_operator.model.access import refusal
from paddock_operator.model.revisions import last_good
from paddock_operator.pool.assign import Placement, Want, want
from paddock_operator.store import Key
from paddock_operator.world import World


@dataclass(frozen=True)
class Served:
    """One Model that the pool serves. `size`: bytes that one replica takes, as far as known."""

    id: ModelId
    desired: Revision
    last_good: Revision | None
    size: int


def models_of(world: World, key: Key, pool: RuntimePool) -> tuple[list[Served], PoolModels]:
    """The Models with a revision that may use the pool, and the count of all that may."""
    served, counts = [], {"total": 0, "ready": 0, "failed": 0}
    for document in world.models.by("pool", key):
        model = _allowed(world, key, pool, document)
        if model is None:
            continue
        for name in _counted(model.status):
            counts[name] += 1
        found = _served(world, model)
        if found is not None:
            served.append(found)
    return served, PoolModels(**counts)


def wants(served: Iterable[Served]) -> list[Want]:
    found = (want(each.id, each.desired.spec, each.size) for each in served)
    return [each for each in found if each is not None]


def config(pool: RuntimePool, served: Iterable[Served], placement: Placement) -> PoolConfig:
    """Without a generation: that is given when it is written."""
    settings = PoolSettings(
        preload_percent=pool.spec.predictive_preload_percent if pool.spec.predictive_preload else 0,
        share_across_namespaces=pool.spec.share_across_namespaces)
    return PoolConfig(generation=0, settings=settings.document(), models={
        str(each.id): PoolEntry(namespace=each.id.namespace, name=each.id.name, desired=each.desired,
                                last_good=each.last_good, assigned=placement.assigned.get(each.id, []))
        for each in served})


def _allowed(world: World, key: Key, pool: RuntimePool, document: Object) -> Model | None:
    if document["metadata"].get("deletionTimestamp"):
        return None
    try:
        model = world.model(document)
    except ManifestError:
        return None
    refused = refusal(model, key, pool, world.namespace_labels(model.metadata.namespace))
    return None if refused is not None else model


def _served(world: World, model: Model) -> Served | None:
    status = model.status
    if status is None or status.revision is None:
        return None
    revisions = world.revisions(model)
    desired = next((each.revision for each in revisions if each.id == status.revision), None)
    if desired is None:
        return None
    return Served(model.id, desired, last_good(revisions, desired.id), _size(status))


def _size(status: ModelStatus) -> int:
    if status.memory is not None and status.memory.estimated_bytes is not None:
        return status.memory.estimated_bytes
    return (status.facts.size_bytes if status.facts is not None else None) or 0


def _counted(status: ModelStatus | None) -> list[str]:
    truths = {each.type: each.status for each in (status.conditions if status is not None else ())}
    ready = truths.get(ConditionType.READY)
    failed = ready == "False" or truths.get(ConditionType.DEGRADED) == "True"
    return ["total", *(["ready"] if ready == "True" else []), *(["failed"] if failed else [])]
