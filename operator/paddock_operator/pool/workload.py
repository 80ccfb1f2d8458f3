"""The pool's other objects: token, Service, StatefulSet, disruption budget; and how many replicas it has now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from paddock_api import cluster_names as names
from paddock_api.identity import ModelId
from paddock_api.state import ModelState, Phase
from paddock_operator.cluster.errors import Invalid
from paddock_operator.cluster.resources import DISRUPTION_BUDGETS, SECRETS, SERVICES, STATEFUL_SETS, Object, Resource
from paddock_operator.objects.differ import differs, with_version
from paddock_operator.objects.pod import PodSettings
from paddock_operator.objects.workload import disruption_budget, service, stateful_set, token_secret
from paddock_operator.pool.assign import Placement
from paddock_operator.pool.memory import PoolMemory
from paddock_operator.pool.scale import Scale, Situation, Step, scale, updating
from paddock_operator.pool.status import Trouble
from paddock_operator.pool.view import PoolView
from paddock_operator.store import Key
from paddock_operator.surroundings import Surroundings

# Nobody watches Secrets, so that nobody can read them: the token is written again after so many seconds.
_TOKEN_AGAIN = 600.0
# A scale-down goes on although not everything is as it should be.
_SHRINKS_WITHIN = 120.0
_LOOK_AGAIN = 5.0


class Scaled(NamedTuple):
    """`again`: seconds until the next step can be due by itself."""

    scale: Scale
    trouble: Trouble | None
    again: float | None


async def secure(around: Surroundings, view: PoolView, token: str, memory: PoolMemory) -> None:
    """The pool's token, where its pods mount it from."""
    uid, digest = view.pool.metadata.uid or "", hashlib.sha256(token.encode()).hexdigest()
    now, known = around.clock(), memory.token
    if known is None or known[:2] != (uid, digest) or now >= known[2] + _TOKEN_AGAIN:
        await around.writer.apply(SECRETS, token_secret(view.pool, token))
        memory.token = (uid, digest, now)


async def serve(around: Surroundings, view: PoolView) -> None:
    """Service and disruption budget."""
    await _apply(around, SERVICES, service(view.pool))
    await _apply(around, DISRUPTION_BUDGETS, disruption_budget(view.pool))


async def run(around: Surroundings, view: PoolView, placement: Placement, settings: PodSettings,
              memory: PoolMemory) -> Scaled:
    """The StatefulSet, one step nearer to what the pool wants."""
    now, wanted, current = around.clock(), view.pool.spec.replicas, view.current
    shrinks = current is not None and wanted < current
    memory.shrinking = (memory.shrinking if memory.shrinking is not None else now) if shrinks else None
    waited = memory.shrinking is not None and now >= memory.shrinking + _SHRINKS_WITHIN
    found = scale(Situation(
        wanted=wanted, current=current, updating=updating(view.stateful_set), ordinals=frozenset(view.pods),
        moved=current is None or _moved(view, placement, current), waited=waited))
    trouble = None
    try:
        document = stateful_set(view.pool, settings, found.replicas)
        if differs(document, view.stateful_set):
            await around.writer.apply(STATEFUL_SETS, with_version(document, view.stateful_set))
    except Invalid as error:
        trouble = Trouble("StatefulSetRefused", f"the API server refuses the StatefulSet: {error.message}")
    return Scaled(found, trouble, None if found.step in (Step.DONE, Step.UP) else _LOOK_AGAIN)


def _moved(view: PoolView, placement: Placement, current: int) -> bool:
    """Whether all that the highest pod has loaded and that is assigned to others is loaded there. What failed there is
    not waited for; nor is anything if the pod does not report."""
    leaving = view.models.get(names.pod_name(view.key.name, current - 1))
    if leaving is None:
        return True
    for model, pods in placement.assigned.items():
        if _phase(leaving, model) is Phase.READY \
                and any(_phase(view.models.get(pod, {}), model) not in (Phase.READY, Phase.FAILED) for pod in pods):
            return False
    return True


def _phase(models: Mapping[ModelId, ModelState], model: ModelId) -> Phase | None:
    return models[model].phase if model in models else None


async def _apply(around: Surroundings, resource: Resource, document: Object) -> None:
    metadata = document["metadata"]
    found = around.world.store(resource).get(Key(metadata["namespace"], metadata["name"]))
    if differs(document, found):
        await around.writer.apply(resource, with_version(document, found))
