"""Which pod gets a request. Pure: gateways that know the same choose the same, without a word between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from paddock_api.identity import ModelId
from paddock_api.rendezvous import order
from paddock_api.state import Phase
from paddock_gateway.fleet.snapshot import Held, ModelInfo, Pod

IN_MEMORY = frozenset({Phase.LOADING, Phase.READY, Phase.DRAINING, Phase.UNLOADING})


class Load(NamedTuple):
    """Requests of this gateway that are at a pod: for the Model asked for, and in all."""

    model: int = 0
    all: int = 0


_IDLE = Load()


class Standing(IntEnum):
    """How near a pod is to answering for a Model, the nearest first."""

    READY = 0
    LOADING = 1  # or on its way, since requests of ours wait there
    FETCHING = 2
    ASSIGNED = 3  # the operator wants it there
    COLD = 4
    TOO_SMALL = 5  # by the estimate: the pod itself knows better, and is asked last
    FAILED = 6


def choose(model: ModelInfo, pods: Sequence[Pod], *, loads: Mapping[str, Load] | None = None,
           excluded: Collection[str] = frozenset(), ready_only: bool = False) -> Pod | None:
    """The best of `pods` for one request, None if no pod may have it.

    A pod that drains is never chosen. No pod is chosen that would become one more than `max_replicas` that have the
    Model in memory. Among pods that are ready the one with the least in flight wins; ties, and Models that nobody has,
    go by rendezvous order. `loads` by pod name; `excluded` pods have refused.
    """
    loads = loads or {}
    serving = [pod for pod in pods if not pod.draining]
    holders = {pod.name for pod in serving if _holds(pod.held(model.id), loads.get(pod.name, _IDLE))}
    full = model.max_replicas is not None and len(holders) >= model.max_replicas
    rank = _ranks(model.id, tuple(pod.name for pod in serving))

    def key(pod: Pod) -> tuple[int, int, int, int]:
        load = loads.get(pod.name, _IDLE)
        near = standing(model, pod, load)
        if near is Standing.READY:
            return near, load.model, load.all, rank[pod.name]
        return near, 0, 0, rank[pod.name]

    candidates = [pod for pod in serving if pod.name not in excluded and (not full or pod.name in holders)]
    if ready_only:
        candidates = [pod for pod in candidates if pod.held(model.id).phase is Phase.READY]
    return min(candidates, key=key, default=None)


def standing(model: ModelInfo, pod: Pod, load: Load = _IDLE) -> Standing:
    held = pod.held(model.id)
    if held.phase is Phase.READY:
        return Standing.READY
    if held.phase is Phase.FAILED:
        return Standing.FAILED
    if held.phase is Phase.LOADING or load.model:
        return Standing.LOADING
    if held.phase is Phase.FETCHING:
        return Standing.FETCHING
    if held.assigned:
        return Standing.ASSIGNED
    needed = held.needed_bytes or model.needed_bytes
    return Standing.TOO_SMALL if needed and pod.budget_bytes and needed > pod.budget_bytes else Standing.COLD


def _holds(held: Held, load: Load) -> bool:
    return held.phase in IN_MEMORY or load.model > 0


@lru_cache(maxsize=4096)
def _ranks(model: ModelId, pods: tuple[str, ...]) -> dict[str, int]:
    return {name: place for place, name in enumerate(order(model, pods))}
