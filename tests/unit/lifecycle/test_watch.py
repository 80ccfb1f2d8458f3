"""Judgements about children: who takes too much, who is stuck."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api.errors import Code
from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.revision import Resolution, revision_of
from paddock_runtime.engine.client import EngineClient
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.engine.protocol import Stats
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.units import Engine, EngineStage, Unit, UnitState
from paddock_runtime.lifecycle.watch import Learned, forgive_lag, hung, over_charge, to_end
from paddock_runtime.system.clock import Clock

MIB = 1 << 20
LIMITS = Limits()


def engine(key: str = "e", *, admitted: int = 1000, measured: int | None = None, stage: EngineStage = EngineStage.READY,
           **changes: Any) -> Engine:
    """Sizes in MiB."""
    made = Engine(key=key, engine_type=LlamaCpp(), client=EngineClient(lambda report: None, Clock()), stage=stage,
                  weights_bytes=admitted * MIB, estimated_bytes=admitted * MIB, started_at=0.0, threads=1,
                  measured=None if measured is None else measured * MIB, allowed=admitted * MIB)
    made.client.last_report = 0.0
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def unit(owner: Engine, state: UnitState, since: float) -> Unit:
    spec = ModelSpec.model_validate({"source": {"file": {"path": "/x"}}})
    target = Target(model=ModelId("n", "m"), revision=revision_of(spec, Resolution()), engine_type=LlamaCpp())
    made = Unit(key="u", engine=owner, target=target, number=1, context_bytes=0, since=since, state=state)
    owner.units["u"] = made
    return made


@pytest.mark.parametrize(("admitted", "measured", "over"), [
    (1000, 1100, 0), (1000, 1101, 1), (100, 164, 0), (100, 165, 1), (100, None, 0)])
def test_a_tenth_or_64_mib_over_the_charge_is_allowed(admitted: int, measured: int | None, over: int) -> None:
    assert over_charge(engine(admitted=admitted, measured=measured), LIMITS) == over * MIB


def test_who_exceeds_its_charge_is_ended_with_the_numbers() -> None:
    bad, good = engine("bad", measured=1200), engine("good", measured=1000)
    ended = to_end([bad, good], 5000 * MIB, LIMITS)
    assert [each.key for each, _ in ended] == ["bad"]
    assert ended[0][1].code is Code.ENGINE_OOM
    assert "took 1200 MiB, but was charged 1000 MiB" in ended[0][1].message


def test_when_all_together_exceed_the_budget_the_worst_go_until_they_do_not() -> None:
    engines = [engine("a", measured=1050), engine("b", measured=1090), engine("c", measured=990)]
    assert to_end(engines, 3130 * MIB, LIMITS) == []
    assert [each.key for each, _ in to_end(engines, 3129 * MIB, LIMITS)] == ["b"]
    assert [each.key for each, _ in to_end(engines, 1000 * MIB, LIMITS)] == ["b", "a"], "c keeps to its charge"


def test_an_engine_that_ends_already_is_left_alone() -> None:
    assert to_end([engine(measured=9000, stage=EngineStage.ENDING)], MIB, LIMITS) == []


def test_what_was_learned_raises_the_next_charge_but_never_shuts_a_model_out() -> None:
    learned = Learned(10)
    assert learned.weights_bytes("e", 1000, context_bytes=100, budget=10_000) == 1000
    grown = engine("e", admitted=10, measured=60)
    learned.see(grown)
    learned.see(engine("e", admitted=10, measured=5))
    assert learned.weights_bytes("e", 10 * MIB, context_bytes=0, budget=1000 * MIB) == 60 * MIB
    assert learned.weights_bytes("e", 10 * MIB, context_bytes=8 * MIB, budget=40 * MIB) == 32 * MIB
    assert learned.weights_bytes("e", 50 * MIB, context_bytes=8 * MIB, budget=40 * MIB) == 50 * MIB


def test_learning_is_bounded() -> None:
    learned = Learned(2)
    for name in "abc":
        learned.see(engine(name, admitted=10, measured=60))
    assert learned.weights_bytes("a", 1, context_bytes=0, budget=10**12) == 1
    assert learned.weights_bytes("c", 1, context_bytes=0, budget=10**12) > 1


@pytest.mark.parametrize(("stage", "now", "code"), [
    (EngineStage.STARTING, 29.0, None), (EngineStage.STARTING, 31.0, Code.LOAD_FAILED),
    (EngineStage.LOADING, 119.0, None), (EngineStage.LOADING, 121.0, Code.LOAD_FAILED),
    (EngineStage.READY, 14.0, None), (EngineStage.READY, 16.0, Code.ENGINE_HUNG),
    (EngineStage.ENDING, 1e6, None)])
def test_silence_is_judged_by_stage(stage: EngineStage, now: float, code: Code | None) -> None:
    error = hung(engine(stage=stage), now, LIMITS)
    assert (None if error is None else error.code) is code


def test_a_long_load_with_signs_of_life_has_a_limit_too() -> None:
    loading = engine(stage=EngineStage.LOADING)
    loading.client.last_report = 899.0
    assert hung(loading, 900.0, LIMITS) is None
    loading.client.last_report = 901.0
    assert hung(loading, 901.0, LIMITS) is not None


@pytest.mark.parametrize(("busy", "stepped_at", "stuck"), [
    (True, 39.0, True), (True, 41.0, False), (False, 0.0, False)])
def test_busy_without_a_step_is_stuck(busy: bool, stepped_at: float, stuck: bool) -> None:
    judged = engine(stats=Stats(step=3, busy=busy, contexts=[]), stepped_at=stepped_at)
    judged.client.last_report = 99.0
    assert (hung(judged, 100.0, LIMITS) is not None) is stuck


def test_a_context_that_opens_may_take_longer_but_not_for_ever() -> None:
    judged = engine()
    unit(judged, UnitState.LOADING, since=0.0)
    assert hung(judged, 119.0, LIMITS) is None
    assert hung(judged, 121.0, LIMITS) is not None


def test_when_we_were_stopped_the_children_are_not_blamed() -> None:
    """SIGSTOP of the supervisor, or a frozen machine: the silence was ours."""
    judged = engine(stats=Stats(step=3, busy=True, contexts=[]))
    unit(judged, UnitState.LOADING, since=0.0)
    forgive_lag([judged], 1000.0)
    judged.units.clear()
    assert hung(judged, 1010.0, LIMITS) is None
    assert hung(judged, 1020.0, LIMITS) is not None
