"""A RuntimePool's status, from what is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paddock_api.cluster_names import ANNOTATION_RECONCILE
from paddock_api.pool_status import PoolConditionType, PoolMemory, PoolModels, RuntimePoolStatus
from paddock_api.runtime_pool import RuntimePool
from paddock_api.state import PodState, Pressure
from paddock_api.status import Condition
from paddock_operator.clock import timestamp
from paddock_operator.model.reasons import plain, pods
from paddock_operator.objects.pod import selector
from paddock_operator.pool.scale import Step

_STEPS = {
    Step.UP: ("ScalingUp", "pods are added"),
    Step.DOWN: ("ScalingDown", "pods are taken away, the highest first"),
    Step.WAIT_ROLLOUT: ("ScalingDown", "waits until the pods are replaced"),
    Step.WAIT_PODS: ("ScalingDown", "waits for a pod that drains"),
    Step.WAIT_MODELS: ("ScalingDown", "waits until what the highest pod keeps loaded is loaded elsewhere"),
}


@dataclass(frozen=True)
class Trouble:
    """What needs a person."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """`stateful_set`: its status. `states`: of the pods that report, by name. `now`: Unix seconds."""

    pool: RuntimePool
    stateful_set: Mapping[str, Any]
    existing: int
    updating: bool
    step: Step
    generation: int | None
    hash: str | None
    states: Mapping[str, PodState]
    models: PoolModels
    trouble: Trouble | None
    now: float

    @property
    def ready(self) -> int:
        return int(self.stateful_set.get("readyReplicas") or 0)

    @property
    def in_sync(self) -> int:
        return sum(state.config_hash == self.hash for state in self.states.values())


def status(seen: Seen) -> RuntimePoolStatus:
    metadata = seen.pool.metadata
    return RuntimePoolStatus(
        observed_generation=metadata.generation,
        conditions=_conditions(seen),
        replicas=seen.existing,
        ready_replicas=seen.ready,
        selector=",".join(f"{key}={value}" for key, value in sorted(selector(metadata.name).items())),
        config_generation=seen.generation,
        config_hash=seen.hash,
        pods_in_sync=seen.in_sync,
        memory=_memory(seen.states),
        models=seen.models,
        last_handled_reconcile_at=metadata.annotations.get(ANNOTATION_RECONCILE))


def _conditions(seen: Seen) -> list[Condition]:
    old = {each.type: each for each in (seen.pool.status.conditions if seen.pool.status is not None else ())}
    aspects = {PoolConditionType.READY: _ready(seen), PoolConditionType.PROGRESSING: _progressing(seen),
               PoolConditionType.DEGRADED: _degraded(seen), PoolConditionType.MEMORY_PRESSURE: _pressed(seen)}
    found = []
    for kind, (truth, reason, message) in aspects.items():
        before = old.get(kind)
        since = before.last_transition_time if before is not None and (before.status == "True") == truth \
            else timestamp(seen.now)
        found.append(Condition(type=kind.value, status="True" if truth else "False", reason=reason, message=message,
                               last_transition_time=since, observed_generation=seen.pool.metadata.generation))
    return found


def _ready(seen: Seen) -> tuple[bool, str, str]:
    wanted = seen.pool.spec.replicas
    if seen.ready < wanted:
        return False, "PodsNotReady", f"{seen.ready} of {wanted} pods are ready"
    if seen.in_sync < wanted:
        return False, "ConfigurationPending", f"{seen.in_sync} of {wanted} pods report the configuration"
    return True, "Ready", f"{pods(wanted)} serve" if wanted != 1 else "1 pod serves"


def _progressing(seen: Seen) -> tuple[bool, str, str]:
    if seen.step in _STEPS:
        reason, message = _STEPS[seen.step]
        return True, reason, f"{message}: there are {seen.existing}, {seen.pool.spec.replicas} are wanted"
    if seen.updating:
        return True, "RollingOut", "pods are replaced, one after the other"
    if seen.existing != seen.pool.spec.replicas or seen.ready < seen.pool.spec.replicas:
        return True, "PodsStarting", f"{seen.ready} of {seen.pool.spec.replicas} pods are ready"
    if seen.in_sync < seen.pool.spec.replicas:
        return True, "ConfigurationPending", "pods take up the configuration"
    return False, "Settled", "pods and configuration are as wanted"


def _degraded(seen: Seen) -> tuple[bool, str, str]:
    if seen.trouble is not None:
        return True, seen.trouble.reason, plain(seen.trouble.message)
    for name, state in sorted(seen.states.items()):
        if state.config_error is not None:
            return True, "ConfigurationRefused", plain(f"{name}: {state.config_error}")
    return False, "AsWanted", "nothing needs a person"


def _pressed(seen: Seen) -> tuple[bool, str, str]:
    pressed = {name: state.memory for name, state in sorted(seen.states.items())
               if state.memory.pressure is not Pressure.OK}
    if not pressed:
        return False, "EnoughMemory", "no pod is short of memory"
    critical = any(memory.pressure is Pressure.CRITICAL for memory in pressed.values())
    which = ", ".join(f"{name} ({memory.pressure.value})" for name, memory in pressed.items())
    return True, "MemoryCritical" if critical else "MemoryHigh", plain(
        f"memory is nearly used up in {which}: raise spec.memory, keep fewer Models loaded, or add pods")


def _memory(states: Mapping[str, PodState]) -> PoolMemory | None:
    if not states:
        return None
    return PoolMemory(budget_bytes=sum(state.memory.budget_bytes for state in states.values()),
                      charged_bytes=sum(state.memory.charged_bytes for state in states.values()),
                      measured_bytes=sum(state.memory.measured_bytes for state in states.values()))
