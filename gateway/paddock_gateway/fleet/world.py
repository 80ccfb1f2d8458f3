"""The one owner of what is known. Watchers report here; everybody else reads the snapshot, which is always whole."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from paddock_api.identity import ModelId
from paddock_gateway.fleet.snapshot import ModelInfo, Pod, PoolId, PoolInfo, Snapshot, name_index
from paddock_gateway.fleet.view import PodView

logger = logging.getLogger("paddock.gateway.fleet")

# Changes that come within this time (a list of Models, say) make one snapshot.
_SETTLE_SECONDS = 0.005


class PodKey(NamedTuple):
    pool: PoolId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A pod as EndpointSlices name it. `ready`: it may get requests."""

    key: PodKey
    url: str
    ready: bool


class World:
    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self._models: dict[ModelId, ModelInfo] = {}
        self._pools: Mapping[PoolId, PoolInfo] = self.snapshot.pools
        self._slices: dict[tuple[str, str], tuple[Endpoint, ...]] = {}
        self._views: dict[PodKey, PodView] = {}
        self._changed: dict[PoolId, asyncio.Event] = defaultdict(asyncio.Event)
        self._models_stale = False
        self._timer: asyncio.TimerHandle | None = None
        self._on_endpoints: list[Callable[[Mapping[PodKey, Endpoint]], None]] = []
        self._on_models: list[Callable[[Mapping[ModelId, ModelInfo]], None]] = []

    # --- what watchers of the API server report

    def set_models(self, models: Iterable[ModelInfo]) -> None:
        """A complete list."""
        known = {model.id: model for model in models}
        if known != self._models:
            self._models = known
            self._models_changed()

    def put_model(self, model: ModelInfo) -> None:
        if self._models.get(model.id) != model:
            self._models[model.id] = model
            self._models_changed()

    def drop_model(self, model: ModelId) -> None:
        if self._models.pop(model, None) is not None:
            self._models_changed()

    def set_pools(self, pools: Iterable[PoolInfo]) -> None:
        self._pools = {pool.id: pool for pool in pools}
        self._stale()

    def put_pool(self, pool: PoolInfo) -> None:
        if self._pools.get(pool.id) != pool:
            self._pools = {**self._pools, pool.id: pool}
            self._stale()

    def drop_pool(self, pool: PoolId) -> None:
        self._pools = {key: value for key, value in self._pools.items() if key != pool}
        self._stale()

    def set_slices(self, slices: Mapping[tuple[str, str], tuple[Endpoint, ...]]) -> None:
        """A complete list of EndpointSlices, by namespace and name."""
        self._slices = dict(slices)
        self._endpoints_changed()

    def put_slice(self, key: tuple[str, str], endpoints: tuple[Endpoint, ...]) -> None:
        if self._slices.get(key) != endpoints:
            self._slices[key] = endpoints
            self._endpoints_changed()

    def drop_slice(self, key: tuple[str, str]) -> None:
        if self._slices.pop(key, None) is not None:
            self._endpoints_changed()

    # --- what pods report

    def put_view(self, key: PodKey, view: PodView) -> None:
        if self._views.get(key) != view:
            self._views[key] = view
            self._stale()

    def drop_view(self, key: PodKey) -> None:
        """The pod can't be reached: what it held is no longer known."""
        if self._views.pop(key, None) is not None:
            self._stale()

    def draining(self, key: PodKey) -> None:
        """The pod has said so in an answer."""
        view = self._views.get(key)
        if view is not None and not view.draining:
            self.put_view(key, replace(view, draining=True))

    # --- for those who read

    def on_endpoints(self, listener: Callable[[Mapping[PodKey, Endpoint]], None]) -> None:
        self._on_endpoints.append(listener)

    def on_models(self, listener: Callable[[Mapping[ModelId, ModelInfo]], None]) -> None:
        self._on_models.append(listener)

    def endpoints(self) -> dict[PodKey, Endpoint]:
        """Every pod once. One that two slices name is taken from the first in order of their names; ready beats not."""
        found: dict[PodKey, Endpoint] = {}
        for key in sorted(self._slices):
            for endpoint in self._slices[key]:
                known = found.get(endpoint.key)
                if known is None or (endpoint.ready and not known.ready):
                    found[endpoint.key] = endpoint
        return found

    def views(self) -> Mapping[PodKey, PodView]:
        return self._views

    async def changed(self, pool: PoolId, seconds: float) -> None:
        """Returns when something changed for `pool`, at the latest after `seconds`."""
        event = self._changed[pool]
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            return

    def settle(self) -> None:
        """Makes the snapshot now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        before = self.snapshot
        self.snapshot = self._build(before)
        if self.snapshot.models is not before.models:
            for listener in self._on_models:
                listener(self.snapshot.models)
        self._wake(before, self.snapshot)

    def _models_changed(self) -> None:
        self._models_stale = True
        self._stale()

    def _endpoints_changed(self) -> None:
        endpoints = self.endpoints()
        for key in self._views.keys() - endpoints.keys():
            del self._views[key]
        self._stale()
        for listener in self._on_endpoints:
            listener(endpoints)

    def _stale(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self.settle)

    def _build(self, before: Snapshot) -> Snapshot:
        models, names = before.models, before.names
        if self._models_stale:
            self._models_stale = False
            models = dict(self._models)
            names = name_index(models)
        pods: dict[PoolId, list[Pod]] = {}
        silent: dict[PoolId, int] = {}
        for key, endpoint in sorted(self.endpoints().items()):
            view = self._views.get(key)
            if view is None or not endpoint.ready:
                silent[key.pool] = silent.get(key.pool, 0) + 1
            else:
                pods.setdefault(key.pool, []).append(_pod(endpoint, view))
        return Snapshot(models=models, names=names, pools=self._pools,
                        pods={pool: tuple(each) for pool, each in pods.items()}, silent=silent)

    def _wake(self, before: Snapshot, after: Snapshot) -> None:
        everything = before.models is not after.models or before.pools is not after.pools
        for pool in list(self._changed):
            if everything or before.pods.get(pool) != after.pods.get(pool):
                self._changed.pop(pool).set()


def _pod(endpoint: Endpoint, view: PodView) -> Pod:
    return Pod(name=endpoint.key.name, pool=endpoint.key.pool, url=endpoint.url, life=view.life,
               draining=view.draining, config_generation=view.config_generation, budget_bytes=view.budget_bytes,
               models=view.models)
