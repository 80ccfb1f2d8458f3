"""A Model whose state changes beside its phase: a pod says all of it anew, and the operator takes it at once."""

from __future__ import annotations

import pytest

from paddock_api.events import Event, EventType
from paddock_api.identity import ModelId
from paddock_api.state import ModelState, Phase
from paddock_operator.pods.view import Change, PodView, Unreadable
from tests.unit.operator.kit import model, pod_state, state

GEMMA = model()
ID = ModelId("team-a", "gemma")
FAULT = ("invalid_spec", "spec.engine.chatTemplate: line 1: unexpected end")


def restated(sequence: int, now: ModelState, **more: object) -> Event:
    document = {**now.model_dump(mode="json"), **more}
    return Event(epoch="e1", sequence=sequence, time=5.0, type=EventType.MODEL, model=str(ID), revision=now.revision,
                 data={"state": document})


def test_a_switch_without_a_load_is_known_at_once() -> None:
    view = PodView(pod_state(state(Phase.READY, GEMMA, revision_id="r1"), sequence=4))
    change = view.apply(restated(5, state(Phase.READY, GEMMA, revision_id="r2"), of_a_newer_pod=1))
    assert change == Change(frozenset({ID}), pod=False, details=False)
    assert (view.models[ID].revision, view.models[ID].phase) == ("r2", Phase.READY)


def test_a_fault_of_a_revision_beside_the_one_that_serves_is_known_at_once() -> None:
    view = PodView(pod_state(state(Phase.READY, GEMMA, revision_id="r1"), sequence=4))
    assert view.apply(restated(5, state(Phase.READY, GEMMA, revision_id="r1", failure=FAULT))).models == {ID}
    failure = view.models[ID].failure
    assert failure is not None
    assert (failure.reason, failure.message) == FAULT


def test_a_state_that_tells_nothing_new_is_no_change() -> None:
    view = PodView(pod_state(state(Phase.READY, GEMMA, revision_id="r1"), sequence=4))
    assert view.apply(restated(5, state(Phase.READY, GEMMA, revision_id="r1", busy=3))).models == frozenset()


def test_a_state_that_is_none_is_refused() -> None:
    view = PodView(pod_state(sequence=4))
    broken = Event(epoch="e1", sequence=5, time=5.0, type=EventType.MODEL, model=str(ID), data={"state": [1]})
    with pytest.raises(Unreadable, match="the state of a Model can't be read"):
        view.apply(broken)
