"""The scheduler's view of this pod: residents and wants, built from its state. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from paddock_runtime.lifecycle.models import Model, Registry
from paddock_runtime.lifecycle.returning import held_back, priority_of, returns
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.units import Unit, UnitState
from paddock_runtime.lifecycle.watch import Learned
from paddock_runtime.scheduler import Resident, State, Wanted

_STATES = {UnitState.LOADING: State.LOADING, UnitState.READY: State.READY, UnitState.LEAVING: State.DRAINING}


def resident(unit: Unit, registry: Registry, now: float = 0.0) -> Resident:
    """A unit with the wishes of all Models that use it: the most patient, the most important. `now` is for how often
    they were asked for lately."""
    users = [model for model in registry.users(unit.key) if not model.removed]
    serving = [model for model in users if model.active is not None and model.active.context == unit.key]
    targets = [target for model in users for target in model.targets() if target.context == unit.key]
    kept = any(model.assigned and not model.asleep for model in users)
    guess = unit.guess if not kept and not any(model.asked for model in users) else None
    needed = any(model in serving or (model.candidate.context == unit.key and not model.candidate.bad)
                 for model in users)
    engine = unit.engine
    return Resident(
        # a child that was killed is as good as gone: nobody has to leave for its bytes, and nothing is loaded into it
        key=unit.key, weights=engine.key, state=State.DRAINING if engine.ending else _STATES[unit.state],
        context_bytes=unit.context_bytes, weights_bytes=engine.charged_bytes - engine.contexts_bytes,
        busy=len(unit.running), waiting=sum(len(model.queue) for model in serving),
        last_used=unit.last_used, loaded_at=unit.loaded_at,
        min_residency=max((target.min_residency for target in targets), default=0.0) if guess is None else 0.0,
        idle_timeout=max((target.idle_timeout for target in targets), default=0.0) if guess is None else guess.seconds,
        priority=max((target.priority for target in targets), default=0),
        pinned=not unit.dismissed and any(model.pinned and model.candidate.context == unit.key for model in users),
        kept=kept, guessed=guess.certainty if guess else None,
        superseded=bool(serving) and all(
            superseded(model) and model.candidate.prepared and not model.verifying for model in serving),
        unwanted=unit.dismissed or not needed,
        use_rate=sum(model.popularity.rate(now) for model in users), load_seconds=unit.load_seconds)


def superseded(model: Model) -> bool:
    """Whether something newer is to take the place of what serves."""
    active, candidate = model.active, model.candidate
    if active is None or active is candidate or candidate.bad:
        return False
    return candidate.prepared is None or candidate.context != active.context


def wanted(models: Iterable[Model], learned: Learned, *, budget: int, now: float) -> list[Wanted]:
    """One want a context, for all Models that wait for it."""
    wants: dict[str, Wanted] = {}
    models = list(models)
    later = held_back(models, now)
    for model in models:
        if model in later and wanted_since(model) is None:
            continue
        target = model.candidate
        want = _want(model, target, learned, budget, now)
        if want is None:
            continue
        before = wants.get(want.key)
        wants[want.key] = want if before is None else _merged(before, want)
    return list(wants.values())


def _want(model: Model, target: Target, learned: Learned, budget: int, now: float) -> Wanted | None:
    if target.prepared is None or model.recording or (target.failure is not None and target.failure.blocks(now)):
        return None
    since = wanted_since(model)
    returning = model.returning if since is None and returns(model, now) else None
    kept = model.assigned and not model.asleep
    spare = since is None and (kept or returning is not None)
    if since is None and not spare:
        return None
    charge = target.prepared.charge
    return Wanted(
        key=target.prepared.context, weights=target.prepared.weights, context_bytes=charge.context_bytes,
        weights_bytes=learned.weights_bytes(target.prepared.weights, charge.weights_bytes,
                                            context_bytes=charge.context_bytes, budget=budget),
        since=since if since is not None else model.kept_since or (returning.since if returning else now),
        priority=priority_of(model, spare),
        waiters=max(1, len(model.queue)), spare=spare and not model.pinned)


def wanted_since(model: Model) -> float | None:
    """Since when somebody waits for a load of `model`; None when nobody does."""
    moments = [moment for moment in (model.asked, model.switching_since) if moment is not None]
    if model.queue:
        moments.append(min(run.arrived for run in model.queue))
    return min(moments, default=None)


def _merged(one: Wanted, other: Wanted) -> Wanted:
    return replace(one, since=min(one.since, other.since), priority=max(one.priority, other.priority),
                   waiters=one.waiters + other.waiters, spare=one.spare and other.spare)
