"""What is watched, and where it goes: Models, RuntimePools and the EndpointSlices of runtime pods into the World."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from paddock_api.cluster_names import LABEL_NAME, RUNTIME_NAME
from paddock_api.identity import ModelId
from paddock_gateway.cluster.api import Api
from paddock_gateway.cluster.objects import Metadata, read_model, read_pool, read_slice
from paddock_gateway.cluster.watch import SILENCE_SECONDS, Resource, Sink, Watch
from paddock_gateway.fleet.snapshot import ModelInfo, PoolId
from paddock_gateway.fleet.world import World

logger = logging.getLogger("paddock.gateway.cluster")

MODELS = Resource("Model", "/apis/paddock.dev/v1alpha1/models")
POOLS = Resource("RuntimePool", "/apis/paddock.dev/v1alpha1/runtimepools")
SLICES = Resource("EndpointSlice", "/apis/discovery.k8s.io/v1/endpointslices", f"{LABEL_NAME}={RUNTIME_NAME}")

T = TypeVar("T")


class _Object(msgspec.Struct):
    metadata: Metadata


_object = msgspec.json.Decoder(_Object)


class Discovery:
    """The three watches. `synced` when each has brought a complete list."""

    def __init__(self, api: Api, world: World, default_pool: PoolId, *, silence: float = SILENCE_SECONDS) -> None:
        self._world, self._default_pool = world, default_pool
        self.watches = [
            Watch(api, MODELS, Sink(replace=self._set_models, put=self._put_model, drop=self._drop_model),
                  silence=silence),
            Watch(api, POOLS, Sink(replace=self._set_pools, put=self._put_pool, drop=self._drop_pool), silence=silence),
            Watch(api, SLICES, Sink(replace=self._set_slices, put=self._put_slice, drop=self._drop_slice),
                  silence=silence),
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(watch.run(), name=f"watch {watch.resource.kind}") for watch in self.watches]

    @property
    def synced(self) -> bool:
        return all(watch.synced.is_set() for watch in self.watches)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- Models

    def _set_models(self, items: list[bytes]) -> None:
        self._world.set_models(_good(items, self._model))

    def _put_model(self, item: bytes) -> None:
        model = _try(self._model, item)
        if model is not None:
            self._world.put_model(model)
        else:
            self._drop_model(item)

    def _drop_model(self, item: bytes) -> None:
        self._world.drop_model(ModelId(*_key(item)))

    def _model(self, item: bytes) -> ModelInfo | None:
        return read_model(item, self._default_pool)

    # --- RuntimePools

    def _set_pools(self, items: list[bytes]) -> None:
        self._world.set_pools(_good(items, read_pool))

    def _put_pool(self, item: bytes) -> None:
        pool = _try(read_pool, item)
        if pool is not None:
            self._world.put_pool(pool)
        else:
            self._drop_pool(item)

    def _drop_pool(self, item: bytes) -> None:
        self._world.drop_pool(PoolId(*_key(item)))

    # --- EndpointSlices

    def _set_slices(self, items: list[bytes]) -> None:
        self._world.set_slices({_key(item): _try(read_slice, item) or () for item in items})

    def _put_slice(self, item: bytes) -> None:
        self._world.put_slice(_key(item), _try(read_slice, item) or ())

    def _drop_slice(self, item: bytes) -> None:
        self._world.drop_slice(_key(item))


def _good(items: Iterable[bytes], read: Callable[[bytes], T | None]) -> list[T]:
    return [value for item in items if (value := _try(read, item)) is not None]


def _try(read: Callable[[bytes], T | None], item: bytes) -> T | None:
    """One object that can't be read must not hide the others."""
    try:
        return read(item)
    except ValueError as error:
        logger.error("an object can't be read and is left out: %s", error, extra={"data": {"object": _key(item)}})
        return None


def _key(item: bytes) -> tuple[str, str]:
    metadata = _object.decode(item).metadata
    return metadata.namespace, metadata.name
