"""One pass over one RuntimePool: gather, decide, write what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from paddock_api.identity import ModelId
from paddock_api.manifest import ManifestError
from paddock_api.pool_status import PoolModels, RuntimePoolStatus
from paddock_api.shards import ShardTooLarge
from paddock_operator.cluster.resources import POOLS, Object
from paddock_operator.model.events import event
from paddock_operator.model.invalid import invalid
from paddock_operator.model.story import Told
from paddock_operator.objects.pod import PodSettings
from paddock_operator.pool import configure, workload
from paddock_operator.pool.assign import Placement
from paddock_operator.pool.gather import models_of
from paddock_operator.pool.memory import PoolMemory, fresh
from paddock_operator.pool.scale import updating
from paddock_operator.pool.status import Seen, Trouble, status
from paddock_operator.pool.story import story
from paddock_operator.pool.view import PoolView, look
from paddock_operator.store import Key
from paddock_operator.surroundings import Surroundings
from paddock_operator.telling import tell

# What moves all the time is written along with other news, or this often.
_MEMORY_PACE = 30.0


class PoolReconciler:
    """`token(pool)` is the pool's own token. `wake(models)` asks for a pass over Models."""

    def __init__(self, around: Surroundings, settings: PodSettings, token: Callable[[Key], str],
                 wake: Callable[[Iterable[ModelId]], None]) -> None:
        self._around = around
        self._settings = settings
        self._token = token
        self._wake = wake
        self._memories: dict[Key, PoolMemory] = {}

    async def __call__(self, key: Key) -> float | None:
        """Seconds until the next pass is due by itself, if one is. Raises ApiError, NotLeader."""
        raw = self._around.world.pools.get(key)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            self._memories.pop(key, None)
            self._around.published.forget(key)
            return None
        memory = self._memories.setdefault(key, fresh(self._around.clock))
        wait = memory.pace.wait(self._around.clock(), raw["metadata"].get("generation"), self._around.burst())
        if wait > 0:
            return wait
        try:
            pool = self._around.world.pool(raw)
        except ManifestError as error:
            bad, told = invalid(raw, error, self._around.wall())
            if bad != raw.get("status"):
                await self._write(key, raw, bad, told)
            return None
        return await self._pass(raw, look(self._around.world, self._around.reports, key, pool), memory)

    async def _pass(self, raw: Object, view: PoolView, memory: PoolMemory) -> float | None:
        around, key, began = self._around, view.key, self._around.clock()
        memory.pace.begin(began, view.pool.metadata.generation)
        await workload.secure(around, view, self._token(key), memory)
        await workload.serve(around, view)
        served, counts = models_of(around.world, key, view.pool)
        trouble, placement, again = None, Placement({}, frozenset()), None
        try:
            configured = await configure.configure(around, view, served, memory)
        except ShardTooLarge as error:
            trouble = Trouble("ConfigurationTooLarge", str(error))
        else:
            placement = configured.placement
            self._wake(configured.changed)
        scaled = await workload.run(around, view, placement, self._settings, memory)
        if memory.shards is not None:
            again = await configure.refresh(around, view, memory.shards, memory)
        memory.pace.cost = around.clock() - began
        late = await self._status(raw, view, memory, scaled, trouble or scaled.trouble, counts)
        return min((wait for wait in (again, scaled.again, late) if wait is not None), default=None)

    async def _status(self, raw: Object, view: PoolView, memory: PoolMemory, scaled: workload.Scaled,
                      trouble: Trouble | None, counts: PoolModels) -> float | None:
        """Seconds until the status should be looked at again, when it is not written although it moved."""
        found = look(self._around.world, self._around.reports, view.key, view.pool)
        shards, pool = memory.shards, view.pool
        new = status(Seen(
            pool=pool, stateful_set=(found.stateful_set or {}).get("status") or {}, existing=len(found.pods),
            updating=updating(found.stateful_set), step=scaled.scale.step, states=found.states, models=counts,
            generation=shards.generation if shards is not None else None,
            hash=shards.hash if shards is not None else None, trouble=trouble, now=self._around.wall()))
        old = pool.status
        if old is not None and _same(old, new):
            return None
        written = memory.status_written
        if old is not None and written is not None and _same(_without_memory(old), _without_memory(new)):
            left = written + _MEMORY_PACE - self._around.clock()
            if left > 0:
                return left
        memory.status_written = self._around.clock()
        await self._write(view.key, raw, _document(new), story(pool.metadata.uid or "", old, new))
        return None

    async def _write(self, key: Key, raw: Object, document: Mapping[str, Any], told: Iterable[Told]) -> None:
        writer, metadata = self._around.writer, raw["metadata"]
        for each in told:
            await tell(writer, event(each, raw, instance=self._around.instance, now=self._around.wall()))
        await writer.apply_status(POOLS, {
            "apiVersion": POOLS.api_version, "kind": POOLS.kind, "status": dict(document),
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": metadata["uid"],
                         "resourceVersion": metadata["resourceVersion"]}})


def _document(found: RuntimePoolStatus) -> dict[str, Any]:
    return found.model_dump(mode="json", by_alias=True, exclude_none=True)


def _same(one: RuntimePoolStatus, other: RuntimePoolStatus) -> bool:
    return _document(one) == _document(other)


def _without_memory(found: RuntimePoolStatus) -> RuntimePoolStatus:
    return found.model_copy(update={"memory": None})
