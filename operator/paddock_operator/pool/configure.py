"""The pool's configuration: who is assigned where, cut into shards, written, and brought to the pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from paddock_api import cluster_names as names
from paddock_api.identity import ModelId
from paddock_api.pool import config_hash
from paddock_api.quantity import to_bytes
from paddock_api.shards import COUNT
from paddock_operator.cluster.errors import Conflict, NotFound
from paddock_operator.cluster.resources import CONFIG_MAPS, PODS, Object
from paddock_operator.objects.differ import differs, with_version
from paddock_operator.objects.shards import Shards, by_index, config_map, cut
from paddock_operator.pool.assign import Placement, place
from paddock_operator.pool.gather import Served, config, wants
from paddock_operator.pool.memory import PoolMemory
from paddock_operator.pool.refresh import nudge
from paddock_operator.pool.view import PoolView
from paddock_operator.surroundings import Surroundings


class Configured(NamedTuple):
    shards: Shards
    placement: Placement
    changed: frozenset[ModelId]


async def configure(around: Surroundings, view: PoolView, served: list[Served], memory: PoolMemory) -> Configured:
    """Writes the shards that differ. `changed`: the Models whose being placed changed. Raises ShardTooLarge, with the
    old configuration still in place."""
    pool = view.pool
    existing = names.pod_names(view.key.name, view.current or 0)
    pods = memory.places.among(names.pod_names(view.key.name, pool.spec.replicas), existing, view.ready)
    placement = place(wants(served), pods, to_bytes(pool.spec.memory))
    wanted = config(pool, served, placement)
    found = by_index(pool, around.world.config_maps.by("pool", view.key))
    status = pool.status
    last = (status.config_generation if status is not None else None) or 0
    known = memory.shards
    if known is None or known.hash != config_hash(wanted) or known.generation < last:
        # Some seconds of work for thousands of Models: the event loop must not wait for it.
        known = await asyncio.to_thread(cut, wanted, found, last)
    for index in range(COUNT):
        document = config_map(pool, known, index)
        if differs(document, found.get(index)):
            await around.writer.apply(CONFIG_MAPS, with_version(document, found.get(index)))
    memory.shards = known
    return Configured(known, placement, around.published.learn(view.key, known.hash, wanted, placement.unplaced))


async def refresh(around: Surroundings, view: PoolView, shards: Shards, memory: PoolMemory) -> float | None:
    """Annotates the pods that do not report the configuration. Returns the seconds until they are looked at again."""
    now = around.clock()
    pods = [pod for pod in view.pods.values() if _listens(pod)]
    alive = {pod["metadata"]["uid"] for pod in pods}
    memory.annotated = {uid: at for uid, at in memory.annotated.items() if uid in alive}
    waits = []
    for pod in pods:
        metadata = pod["metadata"]
        state = view.states.get(metadata["name"])
        since = memory.annotated.setdefault(metadata["uid"], now)
        found = nudge(shards.hash, reported=state.config_hash if state is not None else None,
                      annotation=(metadata.get("annotations") or {}).get(names.ANNOTATION_CONFIG_HASH),
                      since=now - since)
        if found.value is not None:
            with contextlib.suppress(NotFound, Conflict):  # the pod is another one by now
                await around.writer.annotate(PODS, pod, {names.ANNOTATION_CONFIG_HASH: found.value})
            memory.annotated[metadata["uid"]] = now
        waits.append(found.again)
    return _least(waits)


def _listens(pod: Object) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and (pod.get("status") or {}).get("phase") == "Running"


def _least(waits: Iterable[float | None]) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)
