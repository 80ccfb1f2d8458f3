"""The operator's view of the cluster: one store a kind, with the indexes that reconciles look things up by."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from paddock_api.cluster_names import (
    LABEL_MANAGED_BY,
    LABEL_MODEL,
    LABEL_NAME,
    LABEL_POOL,
    LABEL_POOL_NAMESPACE,
    MANAGED_BY,
    RUNTIME_NAME,
)
from paddock_api.manifest import ManifestError, parse
from paddock_api.model import Model
from paddock_api.runtime_pool import RuntimePool
from paddock_operator.cluster.resources import (
    CONFIG_MAPS,
    DISRUPTION_BUDGETS,
    MODELS,
    NAMESPACES,
    PODS,
    POOLS,
    SERVICES,
    STATEFUL_SETS,
    Object,
    Resource,
)
from paddock_operator.memo import Memo
from paddock_operator.model.access import pool_of
from paddock_operator.model.revisions import Kept, kept, read_kept
from paddock_operator.store import Key, Store


@dataclass(frozen=True)
class Kind:
    """A kind that is watched, and which of its objects: all, or those with the labels."""

    resource: Resource
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def selector(self) -> str | None:
        return ",".join(f"{key}={value}" for key, value in self.labels) or None


_MANAGED = ((LABEL_MANAGED_BY, MANAGED_BY),)
KINDS = (
    Kind(MODELS), Kind(POOLS), Kind(NAMESPACES), Kind(CONFIG_MAPS, _MANAGED), Kind(SERVICES, _MANAGED),
    Kind(STATEFUL_SETS, _MANAGED), Kind(DISRUPTION_BUDGETS, _MANAGED), Kind(PODS, ((LABEL_NAME, RUNTIME_NAME),)),
)


class World:
    def __init__(self, *, default_pool: Key, operator_namespace: str) -> None:
        self._default_pool = default_pool
        self._namespace = operator_namespace
        self.model = Memo(lambda document: parse(Model, document, with_status=True))
        self.pool = Memo(lambda document: parse(RuntimePool, document, with_status=True))
        self._kept: Memo[Kept | None] = Memo(read_kept)
        self.models = Store({"pool": self.pools_of_model, "namespace": _namespace}, trim=_lean)
        self.pools = Store(trim=_lean)
        self.namespaces = Store(trim=_lean)
        self.config_maps = Store({"model": _model_label, "pool": _pool_labels}, trim=_lean)
        self.services = Store(trim=_lean)
        self.stateful_sets = Store(trim=_lean)
        self.budgets = Store(trim=_lean)
        self.pods = Store({"pool": _pool_labels}, trim=_pod)
        self._stores = {MODELS: self.models, POOLS: self.pools, NAMESPACES: self.namespaces,
                        CONFIG_MAPS: self.config_maps, SERVICES: self.services, STATEFUL_SETS: self.stateful_sets,
                        DISRUPTION_BUDGETS: self.budgets, PODS: self.pods}

    def store(self, resource: Resource) -> Store:
        return self._stores[resource]

    def learn(self, resource: Resource, document: Object) -> None:
        """The answer to a write. Kinds that nobody keeps are let go by."""
        if resource in self._stores:
            self._stores[resource].learn(document, own=True)

    def gone(self, resource: Resource, document: Object) -> None:
        if resource in self._stores:
            self._stores[resource].gone(document, own=True)

    @property
    def synced(self) -> bool:
        """Whether every kind was listed whole at least once."""
        return all(store.synced for store in self._stores.values())

    def pool_of(self, model: Model) -> Key:
        return pool_of(model, self._default_pool, self._namespace)

    def find_pool(self, key: Key) -> RuntimePool | None:
        """None also for a pool whose spec this version can't read."""
        document = self.pools.get(key)
        if document is None or document["metadata"].get("deletionTimestamp"):
            return None
        try:
            return self.pool(document)
        except ManifestError:
            return None

    def namespace_labels(self, namespace: str) -> dict[str, str]:
        document = self.namespaces.get(Key("", namespace))
        return (document["metadata"].get("labels") or {}) if document is not None else {}

    def revisions(self, model: Model) -> list[Kept]:
        """The Model's own, oldest number first."""
        documents = self.config_maps.by("model", Key(model.metadata.namespace, model.metadata.name))
        return kept(documents, model.metadata.uid or "", self._kept)

    def pools_of_model(self, document: Object) -> tuple[Key]:
        """From the raw spec: a Model that can't be read belongs to its pool nevertheless."""
        reference = (document.get("spec") or {}).get("poolRef")
        if not reference:
            return (self._default_pool,)
        return (Key(reference.get("namespace") or self._namespace, reference.get("name") or ""),)


def _namespace(document: Object) -> Iterable[Hashable]:
    return (document["metadata"]["namespace"],)


def _model_label(document: Object) -> Iterable[Hashable]:
    metadata = document["metadata"]
    name = (metadata.get("labels") or {}).get(LABEL_MODEL)
    return (Key(metadata["namespace"], name),) if name else ()


def _pool_labels(document: Object) -> Iterable[Hashable]:
    metadata = document["metadata"]
    labels = metadata.get("labels") or {}
    name, namespace = labels.get(LABEL_POOL), labels.get(LABEL_POOL_NAMESPACE)
    # What says to belong to a pool of another namespace does not: its owner has no right to say so.
    return (Key(namespace, name),) if name and namespace == metadata["namespace"] else ()


def _lean(document: Object) -> Object:
    """Without the record of who set which field: it is as large as the rest, and nobody reads it."""
    metadata = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    return {**document, "metadata": metadata}


def _pod(document: Object) -> Object:
    """What is read of a pod: the rest is the bulk of it."""
    spec, status = document.get("spec") or {}, document.get("status") or {}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": _lean(document)["metadata"],
        "spec": {"containers": [{"name": each.get("name"), "ports": each.get("ports")}
                                for each in spec.get("containers") or ()]},
        "status": {key: status[key] for key in ("phase", "podIP", "conditions") if key in status},
    }
