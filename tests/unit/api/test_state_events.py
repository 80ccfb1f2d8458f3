"""What pods report survives the wire, and what is no report is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from paddock_api.events import Event, EventType
from paddock_api.state import EngineState, Failure, Memory, ModelState, Phase, PodState

STATE = PodState(
    pod="p-0", epoch="e", sequence=3, version="1", config_generation=2, config_hash="h",
    memory=Memory(budget_bytes=10, charged_bytes=0, measured_bytes=0),
    models=[ModelState(namespace="n", name="m", revision="r", phase=Phase.FAILED, busy=0,
                       failure=Failure(reason="disk_full", message="m", at=1.5))],
    engines=[EngineState(key="k", type="llama.cpp", pid=None, models=["n/m"], charged_bytes=1, threads=1, busy=0,
                         started_at=0.0)])


def test_state_survives_json() -> None:
    assert PodState.model_validate_json(STATE.model_dump_json()) == STATE
    assert STATE.model_dump()["models"][0]["phase"] == "Failed"


@pytest.mark.parametrize("kind", list(EventType))
def test_events_survive_json(kind: EventType) -> None:
    event = Event(epoch="e", sequence=1, time=0.0, type=kind, model="n/m", data={"from": "Ready", "fraction": 0.0})
    assert Event.model_validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize("change", [{"type": "nonsense"}, {"sequence": "x"}, {"extra": 1}, {"epoch": None}])
def test_what_is_no_event_is_refused(change: dict[str, Any]) -> None:
    event = {"epoch": "e", "sequence": 1, "time": 0.0, "type": "phase"}
    with pytest.raises(ValidationError):
        Event.model_validate(event | change)


def test_events_do_not_share_their_data() -> None:
    one, two = (Event(epoch="e", sequence=1, time=0.0, type=EventType.PHASE) for _ in range(2))
    one.data["x"] = 1
    assert two.data == {}
