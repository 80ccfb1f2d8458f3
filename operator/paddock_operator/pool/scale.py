"""How many replicas the StatefulSet has on its way to what the pool wants. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Step(StrEnum):
    DONE = "done"
    UP = "up"
    DOWN = "down"
    WAIT_ROLLOUT = "rollout"  # pods are being replaced: first that, then fewer
    WAIT_PODS = "pods"  # the pod that was taken away last has not gone yet
    WAIT_MODELS = "models"  # what was assigned to the highest pod is not loaded elsewhere yet


class Scale(NamedTuple):
    replicas: int
    step: Step


@dataclass(frozen=True, kw_only=True)
class Situation:
    """`current`: the StatefulSet's spec.replicas, None if there is none. `updating`: pods are being replaced.
    `ordinals`: of the pods that exist. `moved`: what is assigned elsewhere is loaded there. `waited`: long enough."""

    wanted: int
    current: int | None
    updating: bool
    ordinals: frozenset[int]
    moved: bool
    waited: bool


def scale(situation: Situation) -> Scale:
    """Down one pod at a time, the highest first: the StatefulSet stops it with SIGTERM, and it drains."""
    wanted, current = situation.wanted, situation.current
    if current is None:
        return Scale(wanted, Step.UP)
    if wanted >= current:
        return Scale(wanted, Step.DONE if wanted == current else Step.UP)
    if situation.updating and not situation.waited:
        return Scale(current, Step.WAIT_ROLLOUT)
    if any(ordinal >= current for ordinal in situation.ordinals):
        return Scale(current, Step.WAIT_PODS)
    if not situation.moved and not situation.waited:
        return Scale(current, Step.WAIT_MODELS)
    return Scale(current - 1, Step.DOWN)


def updating(stateful_set: dict[str, object] | None) -> bool:
    """Whether pods are being replaced by ones of a newer template, from the StatefulSet's document."""
    if stateful_set is None:
        return False
    metadata, spec, status = (_part(stateful_set, name) for name in ("metadata", "spec", "status"))
    observed = status.get("observedGeneration")
    if observed != metadata.get("generation"):
        return observed is not None  # never observed: there is nobody to replace
    strategy = _part(spec, "updateStrategy")
    if strategy.get("type") == "OnDelete" or status.get("updateRevision") == status.get("currentRevision"):
        return False
    partition = _number(_part(strategy, "rollingUpdate").get("partition"))
    return _number(status.get("updatedReplicas")) < _number(spec.get("replicas")) - partition


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _part(document: dict[str, object], name: str) -> dict[str, object]:
    part = document.get(name)
    return part if isinstance(part, dict) else {}
