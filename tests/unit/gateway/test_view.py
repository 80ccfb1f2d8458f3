"""A pod's own words, followed event by event."""

from __future__ import annotations

import pytest

from paddock_api.identity import ModelId
from paddock_api.state import Phase
from paddock_gateway.fleet.view import OutOfStep, apply_event, read_state
from tests.unit.gateway.fleet_kit import event_json, state_json

_GEMMA = ModelId("team", "gemma")


def test_a_state_is_read() -> None:
    view = read_state(state_json({"phase": "Ready", "estimated_bytes": 5, "assigned": True}, draining=True))
    held = view.models[_GEMMA]
    assert (view.life, view.sequence, view.draining, view.config_generation, view.budget_bytes) == (
        "life", 7, True, 3, 1000)
    assert (held.phase, held.needed_bytes, held.assigned, held.revision) == (Phase.READY, 5, True, "r1")


def test_what_was_measured_beats_the_estimate() -> None:
    view = read_state(state_json({"estimated_bytes": 5, "measured_bytes": 4}))
    assert view.models[_GEMMA].needed_bytes == 4


def test_a_newer_pod_may_say_more() -> None:
    view = read_state(state_json({"phase": "Hibernating", "colour": "blue"}, weather="fine"))
    assert view.models[_GEMMA].phase is Phase.ABSENT
    view, _ = apply_event(view, event_json(8, "hibernated", model="team/gemma", data={"deep": {"er": 1}}))
    assert view.sequence == 8


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"epoch": 1}', b"[" * 100_000])
def test_what_is_no_state_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="not what a pod should say"):
        read_state(data)


def test_phases_and_progress() -> None:
    view = read_state(state_json({}))
    view, stale = apply_event(view, event_json(8, "phase", model="team/gemma", revision="r2",
                                               data={"from": "Cached", "to": "Loading"}))
    assert not stale
    assert (view.models[_GEMMA].phase, view.models[_GEMMA].revision) == (Phase.LOADING, "r2")
    view, _ = apply_event(view, event_json(9, "progress", model="team/gemma", data={"fraction": 0.5, "of": "load"}))
    assert view.models[_GEMMA].progress == 0.5
    view, _ = apply_event(view, event_json(10, "phase", model="team/gemma", data={"to": "Failed", "reason": "no_fit"}))
    held = view.models[_GEMMA]
    assert (held.phase, held.progress, held.revision) == (Phase.FAILED, None, "r2")


def test_what_else_changed_of_a_model() -> None:
    state = {"namespace": "team", "name": "gemma", "phase": "Ready", "revision": "r3", "estimated_bytes": 9}
    event = event_json(8, "model", model="team/gemma", data={"state": state})
    view, stale = apply_event(read_state(state_json({})), event)
    held = view.models[_GEMMA]
    assert not stale
    assert (held.phase, held.revision, held.needed_bytes) == (Phase.READY, "r3", 9)


def test_a_pod_says_that_it_drains() -> None:
    view, stale = apply_event(read_state(state_json({})), event_json(8, "draining"))
    assert view.draining
    assert not stale


def test_a_model_that_the_state_did_not_name() -> None:
    view, _ = apply_event(read_state(state_json()), event_json(8, "phase", model="a/b", data={"to": "Ready"}))
    assert view.models[ModelId("a", "b")].phase is Phase.READY


def test_a_configuration_makes_a_new_state_due() -> None:
    view, stale = apply_event(read_state(state_json()), event_json(8, "config", data={"generation": 4}))
    assert stale
    assert view.sequence == 8


def test_old_events_are_in_the_state_already() -> None:
    view = read_state(state_json({}))
    same, stale = apply_event(view, event_json(7, "phase", model="team/gemma", data={"to": "Ready"}))
    assert same is view
    assert not stale


def test_a_gap_or_another_life_needs_a_new_state() -> None:
    view = read_state(state_json())
    with pytest.raises(OutOfStep):
        apply_event(view, event_json(9, "memory"))
    with pytest.raises(OutOfStep):
        apply_event(view, event_json(8, "memory").replace(b"life", b"next"))
