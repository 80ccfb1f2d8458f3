"""The scheduler's view of what is in memory."""

from __future__ import annotations

from dataclasses import replace

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.revision import Resolution, revision_of
from paddock_runtime.bus import Bus
from paddock_runtime.engine.client import EngineClient
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.lifecycle.engines import EnginePool
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.models import Registry
from paddock_runtime.lifecycle.plan import resident
from paddock_runtime.lifecycle.spares import Spares
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.units import Engine, EngineStage, Unit, UnitState
from paddock_runtime.scheduler import Budget, State, Wanted, decide
from paddock_runtime.store import Artifact
from paddock_runtime.system.clock import Clock

MIB = 1 << 20


class _Nobody:
    """An owner that is not interested."""

    def unit_ready(self, unit: Unit) -> None: ...

    def unit_progress(self, unit: Unit, fraction: float) -> None: ...

    def unit_failed(self, unit: Unit, error: PaddockError) -> None: ...

    def unit_stale(self, unit: Unit, error: PaddockError) -> None: ...

    def unit_gone(self, unit: Unit) -> None: ...

    def engine_died(self, engine: Engine, error: PaddockError) -> None: ...


def _verify(artifact: Artifact) -> None: ...


def _loaded(name: str, *, measured: int) -> Unit:
    """A ready context of 10 MiB in an engine that was admitted with 100 MiB and has `measured`."""
    spec = ModelSpec.model_validate({"source": {"file": {"path": "/x"}}})
    engine = Engine(key=name, engine_type=LlamaCpp(), client=EngineClient(lambda report: None, Clock()),
                    weights_bytes=90 * MIB, estimated_bytes=90 * MIB, started_at=0.0, threads=1,
                    stage=EngineStage.READY, measured=measured * MIB, allowed=100 * MIB)
    target = Target(model=ModelId("n", name), revision=revision_of(spec, Resolution()), engine_type=LlamaCpp())
    unit = Unit(key=f"{name}/c", engine=engine, target=target, number=1, context_bytes=10 * MIB, since=0.0,
                state=UnitState.READY)
    engine.units[unit.key] = unit
    return unit


def test_a_child_that_was_killed_drives_nobody_out_and_takes_nothing_in() -> None:
    registry = Registry([LlamaCpp()], "pod", alone=True)
    grown, innocent = _loaded("grown", measured=400), _loaded("innocent", measured=100)
    spares = Spares([], limits=Limits(), clock=Clock())
    pool = EnginePool(_Nobody(), Bus(), limits=Limits(), clock=Clock(), verify=_verify, spares=spares)
    pool.kill(grown.engine, PaddockError(Code.ENGINE_OOM, "too much"))
    residents = [replace(resident(unit, registry), unwanted=False, idle_timeout=600.0) for unit in (grown, innocent)]
    assert [each.state for each in residents] == [State.DRAINING, State.READY]
    second = Wanted(key="grown/d", weights="grown", context_bytes=MIB, weights_bytes=90 * MIB, since=0.0)
    assert decide(Budget(memory_bytes=300 * MIB), residents, [second], 0.0).actions == ()
    assert decide(Budget(memory_bytes=1000 * MIB), residents, [second], 0.0).actions == ()
