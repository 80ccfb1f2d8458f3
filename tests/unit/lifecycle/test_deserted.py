"""Loads that nobody waits for: how long they go on."""

from __future__ import annotations

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.pool import PoolEntry
from paddock_api.revision import Resolution, revision_of
from paddock_runtime.engine.client import EngineClient
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.engine.types import Charge, Files
from paddock_runtime.lifecycle.deserted import deserted_until
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.returning import Return
from paddock_runtime.lifecycle.targets import Prepared, Target
from paddock_runtime.lifecycle.units import Engine, Unit, UnitState
from paddock_runtime.predict.types import Guess
from paddock_runtime.system.clock import Clock

GRACE = 10.0


def loading(name: str = "a") -> tuple[Unit, Model]:
    """A unit on its way in, and the Model that it is for; nobody asked for it."""
    revision = revision_of(ModelSpec.model_validate({"source": {"file": {"path": "/x"}}}), Resolution())
    known = ModelId("default", name)
    target = Target(model=known, revision=revision, engine_type=LlamaCpp(), prepared=Prepared(
        artifacts=(), files=Files(paths=(), digest="d"), charge=Charge(weights_bytes=1, context_bytes=1),
        weights=name, context=f"{name}/c"))
    model = Model(id=known, entry=PoolEntry(namespace="default", name=name, desired=revision), desired=target)
    engine = Engine(key=name, engine_type=LlamaCpp(), client=EngineClient(lambda report: None, Clock()),
                    weights_bytes=1, estimated_bytes=1, started_at=0.0, threads=1)
    unit = Unit(key=f"{name}/c", engine=engine, target=target, number=1, context_bytes=1, since=0.0)
    engine.units[unit.key] = unit
    return unit, model


def due(unit: Unit, *users: Model, now: float) -> float | None:
    return deserted_until(unit, users, grace=GRACE, now=now)


def test_it_goes_on_for_a_while_and_that_begins_anew_with_each_who_comes() -> None:
    unit, model = loading()
    assert due(unit, model, now=100.0) == 110.0
    assert due(unit, model, now=105.0) == 110.0
    model.asked = 106.0
    assert due(unit, model, now=106.0) is None
    model.asked = None
    assert due(unit, model, now=107.0) == 117.0


def test_what_nobody_asked_for_is_not_given_up_for_lack_of_askers() -> None:
    unit, model = loading()
    unit.guess = Guess(model="default/a", certainty=0.5, made=0.0, until=60.0)
    assert due(unit, model, now=100.0) is None
    unit.guess = None
    model.returning = Return(since=0.0, patient=5.0, until=300.0)
    assert due(unit, model, now=101.0) is None
    model.returning = None
    assert due(unit, model, now=102.0) == 112.0


def test_each_time_that_it_was_given_up_in_vain_it_goes_on_for_longer() -> None:
    """A client with a time-out shorter than the load, who comes again and again, gets its load in the end."""
    unit, model = loading()
    model.given_up = 1
    assert due(unit, model, now=0.0) == 20.0
    model.given_up = 3
    assert due(unit, model, now=0.0) == 80.0
    model.given_up = 10_000
    assert due(unit, model, now=0.0) == 640.0


def test_what_was_unloaded_on_request_is_not_waited_for() -> None:
    unit, model = loading()
    model.asleep = True
    assert due(unit, model, now=5.0) == 5.0
    _, other = loading()
    assert due(unit, model, other, now=5.0) == 15.0, "another that shares the context was not"


@pytest.mark.parametrize("why", ["assigned", "switching", "ready", "leaving", "removed", "another in its engine"])
def test_others_are_left_alone(why: str) -> None:
    unit, model = loading()
    match why:
        case "assigned":
            model.assigned = True
        case "switching":
            model.switching_since = 1.0
        case "ready":
            unit.state = UnitState.READY
        case "leaving":
            unit.state = UnitState.LEAVING
        case "removed":
            model.removed = True
        case _:
            unit.engine.units["a/d"] = unit.engine.units["a/c"].__class__(
                key="a/d", engine=unit.engine, target=unit.target, number=2, context_bytes=1, since=0.0)
    assert due(unit, model, now=5.0) is None


def test_a_load_of_a_revision_that_is_known_to_be_bad_is_not_wanted() -> None:
    unit, model = loading()
    model.asked = 1.0
    good = loading("b")[1].desired
    model.fallback = good
    model.desired.fail(PaddockError(Code.INVALID_MODEL_FILE, "no GGUF"), limits=Limits(), now=0.0)
    assert model.candidate is good
    assert due(unit, model, now=5.0) == 15.0



@pytest.mark.parametrize(("cores", "loads"), [(1, 2), (2, 2), (8, 2), (12, 3), (16, 4), (128, 4)])
def test_loads_at_once_follow_the_cores(cores: int, loads: int) -> None:
    assert Limits().loads_at_once(cores) == loads
    assert Limits(concurrent_loads=1).loads_at_once(cores) == 1
