"""Whether a Model may run where it wants to: its pool, and the volumes and credentials of the pool that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from paddock_api.model import Model
from paddock_api.pool_access import may_use
from paddock_api.runtime_pool import RuntimePool
from paddock_api.source import Source
from paddock_operator.model.reasons import Reason
from paddock_operator.store import Key


class Refusal(NamedTuple):
    reason: Reason
    message: str


def pool_of(model: Model, default: Key, operator_namespace: str) -> Key:
    """The pool that the Model names."""
    reference = model.spec.pool_ref
    if reference is None:
        return default
    return Key(reference.namespace or operator_namespace, reference.name)


def refusal(model: Model, key: Key, pool: RuntimePool | None, labels: Mapping[str, str]) -> Refusal | None:
    """Why the pool `key` must not run the Model, whose namespace has `labels`; None if it may."""
    if pool is None:
        return Refusal(Reason.POOL_NOT_FOUND, f"there is no RuntimePool {key.name} in namespace {key.namespace}; "
                                              "create it, or name another one in spec.poolRef")
    namespace = model.metadata.namespace
    if not may_use(pool.spec.allowed_namespaces, pool_namespace=key.namespace, namespace=namespace, labels=labels):
        return Refusal(Reason.POOL_NOT_ALLOWED,
                       f"the RuntimePool {key} does not take Models of namespace {namespace}; its owner can add the "
                       "namespace to spec.allowedNamespaces, or name another pool in spec.poolRef")
    return next(_sources(model, key, pool), None)


def _sources(model: Model, key: Key, pool: RuntimePool) -> Iterator[Refusal]:
    yield from _source("spec.source", model.spec.source, key, pool)
    for index, adapter in enumerate(model.spec.engine.adapters):
        path = f"spec.engine.adapters[{index}].source"
        if adapter.source.hugging_face is not None or adapter.source.hub is not None:
            yield Refusal(Reason.INVALID_SPEC, f"{path}: is not supported for adapters; use http with a sha256, or "
                                               "file with a volume")
        yield from _source(path, adapter.source, key, pool)


def _source(path: str, source: Source, key: Key, pool: RuntimePool) -> Iterator[Refusal]:
    file, hub = source.file, source.hugging_face
    if file is not None and file.volume is None:
        yield Refusal(Reason.VOLUME_NOT_FOUND, f"{path}.file.volume: name one of the volumes of the RuntimePool {key}; "
                                               "pods have no other files")
    elif file is not None and file.volume not in {volume.name for volume in pool.spec.volumes}:
        names = [volume.name for volume in pool.spec.volumes]
        yield Refusal(Reason.VOLUME_NOT_FOUND, f"{path}.file.volume: the RuntimePool {key} has no volume "
                                               f"{file.volume}; {_offered('it has', names)}")
    if hub is not None and hub.credential is not None \
            and hub.credential not in {credential.name for credential in pool.spec.credentials}:
        names = [credential.name for credential in pool.spec.credentials]
        yield Refusal(Reason.CREDENTIAL_NOT_FOUND, f"{path}.huggingFace.credential: the RuntimePool {key} has no "
                                                   f"credential {hub.credential}; {_offered('it has', names)}")


def _offered(intro: str, names: list[str]) -> str:
    return f"{intro} {', '.join(sorted(names))}" if names else f"{intro} none, its owner can add one to its spec"
