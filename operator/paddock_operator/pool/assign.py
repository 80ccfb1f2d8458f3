"""Which pods keep which Models loaded: Pinned, Preload and minReplicas. The gateways place the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paddock_api.behaviour import LoadingPolicy
from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.rendezvous import order


@dataclass(frozen=True)
class Want:
    """`pods` is how many must have the Model loaded; `firm`: too few are worth a word. `size`: estimated bytes."""

    model: ModelId
    pods: int
    size: int
    firm: bool
    priority: int


class Placement(NamedTuple):
    """`unplaced`: the Models that must stay loaded in more pods than have room."""

    assigned: dict[ModelId, list[str]]
    unplaced: frozenset[ModelId]


def want(model: ModelId, spec: ModelSpec, size: int) -> Want | None:
    """None for a Model that is loaded on demand only."""
    policy, least = spec.loading.policy, spec.scaling.min_replicas
    if policy is LoadingPolicy.ON_DEMAND and least == 0:
        return None
    most = spec.scaling.max_replicas
    pods = max(1, least) if most is None else min(max(1, least), most)
    firm = policy is LoadingPolicy.PINNED or least > 0
    return Want(model, pods, size, firm, spec.loading.priority)


def place(wants: Iterable[Want], pods: Sequence[str], budget: int) -> Placement:
    """Each Model on the first of its pods, in rendezvous order, that has room for it beside those placed before: firm
    ones first, then by priority. So what is decided depends on nothing but who is there, and little moves when one
    comes or goes."""
    free = dict.fromkeys(pods, budget)
    assigned: dict[ModelId, list[str]] = {}
    unplaced = set()
    for each in sorted(wants, key=lambda wanted: (not wanted.firm, -wanted.priority, wanted.model)):
        fitting = [pod for pod in order(each.model, pods) if free[pod] >= each.size][:each.pods]
        for pod in fitting:
            free[pod] -= each.size
        if fitting:
            assigned[each.model] = sorted(fitting)
        if each.firm and len(fitting) < each.pods:
            unplaced.add(each.model)
    return Placement(assigned, frozenset(unplaced))
