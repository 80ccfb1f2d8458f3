"""`GET /state`: the pod as it is now. Built without validation, for it may list thousands of Models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from paddock_api.state import EngineState, Failure, Memory, ModelState, PodState
from paddock_runtime.lifecycle import failure as failures
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.phases import unit_of
from paddock_runtime.lifecycle.units import Engine, Unit
from paddock_runtime.system.clock import Clock

if TYPE_CHECKING:
    from paddock_runtime.lifecycle.core import Core


def pod_state(core: Core, *, pod: str, version: str, generation: int, config_hash: str, config_error: str | None,
              draining: bool) -> PodState:
    engines = list(core.pool.engines.values())
    reading = core.relieving.reading
    memory = Memory.model_construct(
        budget_bytes=core.memory_bytes,
        charged_bytes=sum(engine.charged_bytes for engine in engines) + core.spares.bytes,
        measured_bytes=sum(engine.measured or 0 for engine in engines) + core.spares.measured_bytes,
        pressure=core.relieving.level, container_bytes=None if reading is None else reading.used,
        limit_bytes=None if reading is None else reading.limit)
    models = [*core.registry.models.values(), *core.registry.leaving]
    return PodState.model_construct(
        pod=pod, epoch=core.bus.epoch, sequence=core.bus.sequence, version=version, config_generation=generation,
        config_hash=config_hash, config_error=config_error, draining=draining, memory=memory,
        models=[model_state(model, core.pool.units, core.clock) for model in models],
        engines=[engine_state(engine, core) for engine in engines])


def model_state(model: Model, units: Mapping[str, Unit], clock: Clock) -> ModelState:
    unit = unit_of(model, units)
    target = model.active or model.candidate
    prepared = target.prepared
    troubled = next((each for each in (model.desired, model.candidate) if each.failure is not None), None)
    return ModelState.model_construct(
        namespace=model.id.namespace, name=model.id.name, aliases=list(target.revision.spec.aliases),
        revision=target.revision.id, desired_revision=model.desired.revision.id,
        active_revision=None if model.active is None else model.active.revision.id,
        bad_revisions=[each.revision.id for each in model.targets() if each.bad], facts=model.desired.facts,
        phase=model.phase, progress=model.told_progress if model.active is None else None,
        failure=None if troubled is None or troubled.failure is None else _failure(troubled.failure, clock),
        digest=None if prepared is None else prepared.files.digest,
        file_bytes=None if prepared is None else sum(artifact.size for artifact in prepared.artifacts),
        estimated_bytes=None if prepared is None else prepared.charge.weights_bytes + prepared.charge.context_bytes,
        measured_bytes=None if unit is None else unit.engine.measured, share_bytes=model.share,
        context_length=None if unit is None or unit.opened is None else unit.opened.context_length,
        busy=model.busy, waiting=len(model.queue),
        last_used=None if model.last_used is None else clock.wall_of(model.last_used),
        loads=model.loads, assigned=model.assigned)


def engine_state(engine: Engine, core: Core) -> EngineState:
    contexts = engine.stats.contexts if engine.stats is not None else []
    names = sorted({str(model.id) for unit in engine.units.values() for model in core.registry.users(unit.key)})
    return EngineState.model_construct(
        key=engine.key, type=engine.engine_type.name, pid=engine.pid, models=names, charged_bytes=engine.charged_bytes,
        measured_bytes=engine.measured, threads=engine.threads, busy=engine.running,
        started_at=core.clock.wall_of(engine.started_at),
        counters={"steps": engine.steps, **{name: sum(getattr(context, name) for context in contexts)
                                            for name in _COUNTERS}})


_COUNTERS = ("live", "waiting", "idle_prefixes", "cells_used", "cells_total", "prompt_tokens_evaluated",
             "prompt_tokens_reused", "tokens_generated", "preemptions", "prefix_evictions")


def _failure(failure: failures.Failure, clock: Clock) -> Failure:
    return Failure.model_construct(
        reason=failure.code.value, message=failure.message, at=clock.wall_of(failure.at), attempts=failure.attempts,
        retry_at=None if failure.retry_at is None else clock.wall_of(failure.retry_at))
