"""Kubernetes objects as JSON → what the gateway needs of them. Pure.

Read by narrow types of our own: a newer custom resource definition must not stop an older gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar

import msgspec

from paddock_api.cluster_names import LABEL_POOL, LABEL_POOL_NAMESPACE, PORT_NAME
from paddock_api.identity import ModelId
from paddock_gateway.fleet.snapshot import ModelInfo, PoolId, PoolInfo
from paddock_gateway.fleet.world import Endpoint, PodKey

T = TypeVar("T")


class Struct(msgspec.Struct, rename="camel"):
    """As Kubernetes spells names; what is not named here is passed over."""


class Metadata(Struct):
    name: str
    namespace: str
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None


class _PoolRef(Struct):
    name: str
    namespace: str | None = None


class _Scaling(Struct):
    max_replicas: int | None = None


class _ModelSpec(Struct):
    aliases: list[str] | None = None
    pool_ref: _PoolRef | None = None
    scaling: _Scaling | None = None


class _Condition(Struct):
    type: str
    status: str
    reason: str = ""


class _Memory(Struct):
    estimated_bytes: int | None = None
    measured_bytes: int | None = None


class _ModelStatus(Struct):
    conditions: list[_Condition] | None = None
    memory: _Memory | None = None


class _Model(Struct):
    metadata: Metadata
    spec: _ModelSpec
    status: _ModelStatus | None = None


class _PoolSpec(Struct):
    replicas: int | None = None


class _Pool(Struct):
    metadata: Metadata
    spec: _PoolSpec | None = None


class _Conditions(Struct):
    ready: bool | None = None
    terminating: bool | None = None


class _Reference(Struct):
    kind: str = ""
    name: str = ""


class _Endpoint(Struct):
    addresses: list[str]
    conditions: _Conditions | None = None
    target_ref: _Reference | None = None


class _Port(Struct):
    name: str | None = None
    port: int | None = None


class _Slice(Struct):
    metadata: Metadata
    address_type: str = "IPv4"
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


_model = msgspec.json.Decoder(_Model)
_pool = msgspec.json.Decoder(_Pool)
_slice = msgspec.json.Decoder(_Slice)


def read_model(data: bytes, default_pool: PoolId) -> ModelInfo | None:
    """None for a Model that is being deleted. Raises ValueError."""
    model = _decode(_model, data)
    if model.metadata.deletion_timestamp is not None:
        return None
    reference, status = model.spec.pool_ref, model.status or _ModelStatus()
    memory = status.memory or _Memory()
    return ModelInfo(
        id=ModelId(model.metadata.namespace, model.metadata.name),
        pool=default_pool if reference is None else PoolId(reference.namespace or default_pool.namespace,
                                                           reference.name),
        aliases=tuple(model.spec.aliases or ()),
        max_replicas=model.spec.scaling.max_replicas if model.spec.scaling is not None else None,
        needed_bytes=memory.measured_bytes or memory.estimated_bytes,
        created=_unix(model.metadata.creation_timestamp),
        unready=_unready(status.conditions or []))


def _unready(conditions: list[_Condition]) -> str | None:
    return next((each.reason for each in conditions if each.type == "Ready" and each.status != "True"), None)


def read_pool(data: bytes) -> PoolInfo | None:
    """None for a pool that is being deleted. Raises ValueError."""
    pool = _decode(_pool, data)
    if pool.metadata.deletion_timestamp is not None:
        return None
    return PoolInfo(id=PoolId(pool.metadata.namespace, pool.metadata.name),
                    replicas=pool.spec.replicas if pool.spec is not None else None)


def read_slice(data: bytes) -> tuple[Endpoint, ...]:
    """The pods of an EndpointSlice. Raises ValueError.

    A slice counts only for a pool of its own namespace: nobody can add pods to the pools of others."""
    slice_ = _decode(_slice, data)
    labels = slice_.metadata.labels or {}
    pool = PoolId(slice_.metadata.namespace, labels.get(LABEL_POOL, ""))
    port = _port(slice_.ports or [])
    if not pool.name or labels.get(LABEL_POOL_NAMESPACE) != pool.namespace or port is None:
        return ()
    return tuple(_endpoints(slice_, pool, port))


def _endpoints(slice_: _Slice, pool: PoolId, port: int) -> Iterator[Endpoint]:
    for each in slice_.endpoints or ():
        reference = each.target_ref
        if reference is None or reference.kind != "Pod" or not reference.name or not each.addresses:
            continue
        conditions = each.conditions or _Conditions()
        address = f"[{each.addresses[0]}]" if slice_.address_type == "IPv6" else each.addresses[0]
        yield Endpoint(key=PodKey(pool, reference.name), url=f"http://{address}:{port}",
                       ready=conditions.ready is not False and not conditions.terminating)


def _port(ports: list[_Port]) -> int | None:
    named = [each.port for each in ports if each.name == PORT_NAME]
    return named[0] if named else None


def _unix(time: str | None) -> int:
    if time is None:
        return 0
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return 0


def _decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"not an object as it should be: {error}") from error
