from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.event_stream import Decoder, Message, TooLarge
from paddock_api.events import Event, EventType
from paddock_api.identity import ModelId
from paddock_api.state import Phase, Pressure
from paddock_operator.pods.shared import Shared
from paddock_operator.pods.view import Change, Gap, PodView, Unreadable, read_event, read_state
from tests.unit.operator.kit import model, pod_state, state

GEMMA = model()
ID = ModelId("team-a", "gemma")


def phase(sequence: int, to: Phase, epoch: str = "e1", **data: str) -> Event:
    return Event(epoch=epoch, sequence=sequence, time=5.0, type=EventType.PHASE, model=str(ID), revision="r2",
                 data={"from": "Cached", "to": to.value, **data})


@given(st.lists(st.integers(min_value=1, max_value=200)))
def test_events_come_out_however_the_bytes_are_cut(cuts: list[int]) -> None:
    text = (b": heartbeat\n\nevent: snapshot\r\nid: e-1\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n"
            b"data: plain\n\nid: nothing\n\nevent: change\ndata:  \xc3\xa4 x\n\n")
    decoder, found, rest = Decoder(), [], text
    for cut in [*cuts, len(text)]:
        found += list(decoder.feed(rest[:cut]))
        rest = rest[cut:]
    assert found == [Message("snapshot", '{"a":\n1}'), Message("message", "plain"), Message("change", " ä x")]


def test_an_endless_event_is_refused() -> None:
    for chunk in (b"data: " + b"x" * 200, b"data: xxxxxxxxx\n" * 20):
        decoder = Decoder(limit=100)
        with pytest.raises(TooLarge):
            list(decoder.feed(chunk))


def test_changes_carry_the_snapshot_on() -> None:
    view = PodView(pod_state(state(Phase.CACHED, GEMMA), sequence=4))
    assert view.apply(phase(5, Phase.LOADING)) == Change(frozenset({ID}), pod=False, details=True)
    assert (view.models[ID].phase, view.models[ID].revision) == (Phase.LOADING, "r2")
    view.apply(phase(6, Phase.READY))
    view.apply(phase(7, Phase.DRAINING, reason="room"))
    assert view.left == {ID: ("room", 5.0)}
    view.apply(phase(8, Phase.CACHED))
    assert view.left == {ID: ("room", 5.0)}  # why it is not there, until it is again
    view.apply(phase(9, Phase.READY))
    assert view.left == {}
    view.apply(phase(10, Phase.FAILED, reason="disk_full", message="no room"))
    failure = view.models[ID].failure
    assert failure is not None
    assert (failure.reason, failure.message) == ("disk_full", "no room")


def pressed(sequence: int, to: str) -> Event:
    return Event(epoch="e1", sequence=sequence, time=5.0, type=EventType.PRESSURE, data={"to": to, "why": "because"})


def test_memory_pressure_is_a_change_of_the_pod() -> None:
    view = PodView(pod_state(sequence=4))
    assert view.apply(pressed(5, "critical")) == Change(frozenset(), pod=True, details=False)
    assert view.state.memory.pressure is Pressure.CRITICAL
    assert not view.apply(pressed(6, "critical")).pod
    assert view.apply(pressed(7, "ok")).pod
    with pytest.raises(Unreadable, match="'lots' is no level of memory pressure"):
        view.apply(pressed(8, "lots"))


def test_a_gap_or_a_new_life_asks_for_a_snapshot_and_what_is_known_is_let_go_by() -> None:
    view = PodView(pod_state(sequence=4))
    assert view.apply(phase(4, Phase.READY)) == Change(frozenset(), pod=False, details=False)
    assert view.models == {}
    for event in (phase(6, Phase.READY), phase(5, Phase.READY, epoch="e2")):
        with pytest.raises(Gap):
            view.apply(event)


def test_a_snapshot_that_is_older_than_the_stream_changes_nothing() -> None:
    view = PodView(pod_state(state(Phase.CACHED, GEMMA), sequence=4))
    view.apply(phase(5, Phase.READY))
    view.take(pod_state(state(Phase.CACHED, GEMMA), sequence=4))
    assert view.models[ID].phase is Phase.READY
    change = view.take(pod_state(state(Phase.CACHED, GEMMA), sequence=1, epoch="e2"))
    assert change.models == {ID}
    assert view.state.epoch == "e2"


def test_a_snapshot_tells_what_changed_and_requests_are_no_change() -> None:
    view = PodView(pod_state(state(Phase.READY, GEMMA, busy=1, last_used=100.0)))
    assert view.take(pod_state(state(Phase.READY, GEMMA, busy=7, waiting=3, last_used=101.0), sequence=2)) \
        == Change(frozenset(), pod=False, details=False)
    assert view.take(pod_state(sequence=3)).models == {ID}
    assert view.take(pod_state(sequence=4, config_hash="new")).pod


def test_equal_states_of_many_pods_are_one_and_changing_one_changes_no_other() -> None:
    shared = Shared()
    texts = [pod_state(state(Phase.CACHED, GEMMA), pod=f"default-runtime-{number}").model_dump_json()
             for number in range(3)]
    views = [PodView(read_state(text), shared) for text in texts]
    assert views[0].models[ID] is views[1].models[ID] is views[2].models[ID]
    views[1].apply(phase(2, Phase.READY))
    assert [view.models[ID].phase for view in views] == [Phase.CACHED, Phase.READY, Phase.CACHED]
    views[2].apply(phase(2, Phase.FAILED, reason="disk_full", message="no room"))
    assert views[0].models[ID].failure is None
    views[1].take(read_state(texts[1].replace('"sequence":1', '"sequence":3')))
    assert views[1].models[ID].phase is Phase.CACHED
    del views[1:]
    assert len(shared._known) == 1
    views.clear()
    assert len(shared._known) == 0, "nothing is kept that no pod says"


def test_a_configuration_that_is_refused_is_told_and_the_old_one_stays() -> None:
    view = PodView(pod_state(sequence=1))
    accepted = Event(epoch="e1", sequence=2, time=1, type=EventType.CONFIG, data={"generation": 7, "hash": "h7"})
    refused = Event(epoch="e1", sequence=3, time=1, type=EventType.CONFIG,
                    data={"generation": 8, "hash": "h8", "error": "bad"})
    assert view.apply(accepted).pod
    assert view.apply(refused).pod
    assert (view.state.config_hash, view.state.config_generation, view.state.config_error) == ("h7", 7, "bad")


def test_newer_pods_are_understood_as_far_as_they_can_be() -> None:
    text = pod_state(sequence=3).model_dump_json().replace('"version"', '"novelty":{"x":1},"version"')
    assert read_state(text).sequence == 3
    with pytest.raises(Gap):
        read_event('{"epoch":"e1","sequence":4,"time":1,"type":"novelty"}')
    for bad in ("{", "[]", '{"epoch":1}'):
        with pytest.raises(Unreadable):
            read_event(bad)
        with pytest.raises(Unreadable):
            read_state(bad)
