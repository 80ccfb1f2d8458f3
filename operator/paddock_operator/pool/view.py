"""A pool and what is there of it, looked up for one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paddock_api import cluster_names as names
from paddock_api.identity import ModelId
from paddock_api.runtime_pool import RuntimePool
from paddock_api.state import ModelState, PodState
from paddock_operator.cluster.resources import Object
from paddock_operator.pods.reports import Reports
from paddock_operator.store import Key
from paddock_operator.world import World


@dataclass(frozen=True)
class PoolView:
    """`pods`: those of the pool's StatefulSet, by ordinal. `states` and `models`: of those that
    report, by name."""

    key: Key
    pool: RuntimePool
    stateful_set: Object | None
    pods: Mapping[int, Object]
    states: Mapping[str, PodState]
    models: Mapping[str, Mapping[ModelId, ModelState]]

    @property
    def current(self) -> int | None:
        """Replicas that the StatefulSet is told to have."""
        if self.stateful_set is None:
            return None
        return int((self.stateful_set.get("spec") or {}).get("replicas", 1))

    @property
    def ready(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods.values() if is_ready(pod)]


def look(world: World, reports: Reports, key: Key, pool: RuntimePool) -> PoolView:
    found = world.stateful_sets.get(Key(key.namespace, names.runtime_name(key.name)))
    # One that belongs to an earlier pool of this name is about to go.
    ours = found if found is not None and _owned(found, pool) else None
    pods = {ordinal: pod for pod in world.pods.by("pool", key) if (ordinal := ordinal_of(key.name, pod)) is not None}
    return PoolView(key, pool, ours, dict(sorted(pods.items())), reports.states(key), reports.models(key))


def ordinal_of(pool: str, pod: Object) -> int | None:
    """None for a pod that only carries the labels."""
    prefix, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if prefix == names.runtime_name(pool) and number.isascii() and number.isdigit() else None


def is_ready(pod: Object) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _owned(found: Object, pool: RuntimePool) -> bool:
    owners = found["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == pool.metadata.uid for owner in owners) or not owners


