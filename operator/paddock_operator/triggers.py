"""Which change asks for which pass. Changes that only this process made ask for none of their own object."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from paddock_api import cluster_names as names
from paddock_api.identity import ModelId
from paddock_api.status import ConditionType
from paddock_operator.cluster.resources import Object
from paddock_operator.pods.follow import PodRef
from paddock_operator.queue import KeyedQueue
from paddock_operator.store import Key, key_of
from paddock_operator.world import World

# Seconds that changes are gathered for.
_POOL_DELAY = 0.5
_COUNTS_DELAY = 3.0
_REPORT_DELAY = 0.2


@dataclass(frozen=True)
class Triggers:
    world: World
    models: KeyedQueue[Key]
    pools: KeyedQueue[Key]
    pods_changed: Callable[[], None]

    def connect(self) -> None:
        """From now on every change of a store asks for what it should."""
        world = self.world
        world.models.listen(self._model)
        world.pools.listen(self._pool)
        world.namespaces.listen(self._namespace)
        world.config_maps.listen(self._config_map)
        for store in (world.services, world.stateful_sets, world.budgets):
            store.listen(self._child)
        world.pods.listen(self._pod)

    def everything(self, spread: float = 0.0) -> None:
        """A pass over all, within `spread` seconds: this process begins to lead, or a while has passed."""
        for key in self.world.pools.keys():  # noqa: SIM118 - a Store is no dict: it iterates over objects
            self.pools.add(key, random.uniform(0, spread))
        for key in self.world.models.keys():  # noqa: SIM118 - a Store is no dict: it iterates over objects
            self.models.add(key, random.uniform(0, spread))

    def wake(self, models: Iterable[ModelId]) -> None:
        for model in models:
            self.models.add(Key(model.namespace, model.name))

    def reported(self, pod: PodRef, models: Collection[ModelId] | None, pod_changed: bool) -> None:
        """`models` is None when the pod began or ceased to report: that matters to all of its pool."""
        if models is None:
            self._models_of(pod.pool, _REPORT_DELAY)
        else:
            for model in models:
                self.models.add(Key(model.namespace, model.name), _REPORT_DELAY)
        if pod_changed or models is None:
            self.pools.add(pod.pool, _POOL_DELAY)

    def _model(self, key: Key, before: Object | None, after: Object | None, own: bool) -> None:
        if not own and _asked(before) != _asked(after):
            self.models.add(key)
        if after is None:
            self.models.add(key)
        pools = {pool for each in (before, after) if each is not None for pool in self.world.pools_of_model(each)}
        if _served(before) != _served(after):
            for pool in pools:
                self.pools.add(pool, _POOL_DELAY)
        elif _counted(before) != _counted(after):
            for pool in pools:
                self.pools.add(pool, _COUNTS_DELAY)

    def _pool(self, key: Key, before: Object | None, after: Object | None, own: bool) -> None:
        if own or _asked(before) == _asked(after):
            return
        self.pools.add(key)
        self._models_of(key, 0.0)

    def _namespace(self, key: Key, before: Object | None, after: Object | None, own: bool) -> None:
        """A new one too: its Models may have been heard of before."""
        if _labels(before) == _labels(after):
            return
        for document in self.world.models.by("namespace", key.name):
            self.models.add(key_of(document))
            self._pools_of(key_of(document))

    def _config_map(self, key: Key, before: Object | None, after: Object | None, own: bool) -> None:
        document = after or before
        assert document is not None
        labels = document["metadata"].get("labels") or {}
        if (name := labels.get(names.LABEL_MODEL)) is not None:
            model = Key(key.namespace, name)
            if not own:
                self.models.add(model)
            self._pools_of(model)
        elif not own:
            self._child(key, before, after, own)

    def _child(self, key: Key, before: Object | None, after: Object | None, own: bool) -> None:
        pool = _pool_of(after or before)
        if pool is not None and not own:
            self.pools.add(pool, _POOL_DELAY)

    def _pod(self, key: Key, before: Object | None, after: Object | None, own: bool) -> None:
        if own:
            return
        self.pods_changed()
        self._child(key, before, after, own)

    def _models_of(self, pool: Key, delay: float) -> None:
        for document in self.world.models.by("pool", pool):
            self.models.add(key_of(document), delay)

    def _pools_of(self, model: Key) -> None:
        document = self.world.models.get(model)
        for pool in self.world.pools_of_model(document) if document is not None else ():
            self.pools.add(pool, _POOL_DELAY)


def _asked(document: Object | None) -> tuple[Any, ...] | None:
    """What people ask for."""
    if document is None:
        return None
    metadata = document["metadata"]
    annotations = metadata.get("annotations") or {}
    return (metadata.get("uid"), metadata.get("generation"), metadata.get("deletionTimestamp"),
            annotations.get(names.ANNOTATION_RECONCILE))


def _served(document: Object | None) -> tuple[Any, ...] | None:
    """What a pool's configuration is made from, besides the revisions."""
    if document is None:
        return None
    status = document.get("status") or {}
    return (*(_asked(document) or ()), status.get("revision"), (status.get("memory") or {}).get("estimatedBytes"))


def _counted(document: Object | None) -> tuple[Any, ...]:
    conditions = ((document or {}).get("status") or {}).get("conditions") or ()
    return tuple(sorted((each.get("type"), each.get("status")) for each in conditions
                        if each.get("type") in (ConditionType.READY, ConditionType.DEGRADED)))


def _labels(document: Object | None) -> dict[str, str]:
    return ((document or {}).get("metadata") or {}).get("labels") or {}


def _pool_of(document: Object | None) -> Key | None:
    labels = _labels(document)
    name, namespace = labels.get(names.LABEL_POOL), labels.get(names.LABEL_POOL_NAMESPACE)
    return Key(namespace, name) if name and namespace else None
