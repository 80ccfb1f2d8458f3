"""Who is placed where, how many pods there are, when pods are told, and what the pool's status says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock_api.identity import ModelId
from paddock_api.pool_status import PoolModels
from paddock_api.rendezvous import order
from paddock_api.state import PodState, Pressure
from paddock_operator.pool.assign import Want, place, want
from paddock_operator.pool.places import Places
from paddock_operator.pool.refresh import Nudge, nudge
from paddock_operator.pool.scale import Scale, Situation, Step, scale, updating
from paddock_operator.pool.status import Seen, Trouble, status
from paddock_operator.pool.story import story
from tests.unit.operator.kit import GIB, NOW, golden, model, pod_state, pool

PODS = [f"p-{number}" for number in range(4)]


def ids(*names: str) -> list[ModelId]:
    return [ModelId("n", name) for name in names]


@pytest.mark.parametrize(("spec", "pods", "firm"), [
    ({}, None, None),
    ({"loading": {"policy": "Pinned"}}, 1, True),
    ({"loading": {"policy": "Preload"}}, 1, False),
    ({"scaling": {"minReplicas": 3}}, 3, True),
    ({"loading": {"policy": "Pinned"}, "scaling": {"minReplicas": 2, "maxReplicas": 2}}, 2, True),
    ({"scaling": {"minReplicas": 0}}, None, None),
])
def test_what_must_stay_loaded(spec: dict[str, Any], pods: int | None, firm: bool | None) -> None:
    found = want(ModelId("n", "m"), model(**spec).spec, 5)
    assert (None, None) if found is None else (found.pods, found.firm) == (pods, firm)


def test_models_go_where_gateways_look_for_them_first() -> None:
    (a,) = ids("a")
    found = place([Want(a, 2, GIB, True, 0)], PODS, 4 * GIB)
    assert found.assigned == {a: sorted(order(a, PODS)[:2])}
    assert found.unplaced == frozenset()


def test_pinned_ones_come_first_then_priority_and_nothing_is_overbooked() -> None:
    a, b, c = ids("a", "b", "c")
    wants = [Want(a, 4, 3 * GIB, False, 0), Want(b, 4, 3 * GIB, True, 0), Want(c, 4, GIB, False, 5)]
    found = place(wants, PODS, 4 * GIB)
    assert found.assigned == {b: PODS, c: PODS}
    assert found.unplaced == frozenset()  # what is only preloaded is not missed


def test_too_few_places_are_said() -> None:
    a, b = ids("a", "b")
    found = place([Want(a, 2, 5 * GIB, True, 0), Want(b, 6, GIB, True, 0)], PODS, 4 * GIB)
    assert found.assigned == {b: PODS}
    assert found.unplaced == {a, b}


_WANTS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4 * GIB), st.booleans(), st.integers(-2, 2)), max_size=12)


@settings(max_examples=50)
@given(_WANTS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_placement_depends_on_nothing_but_who_is_there(given_wants: Any, pods: int, random: Any) -> None:
    wants = [Want(ModelId("n", f"m{number}"), *each) for number, each in enumerate(given_wants)]
    found = place(wants, PODS[:pods], 4 * GIB)
    random.shuffle(wants)
    assert place(wants, PODS[:pods], 4 * GIB) == found
    for pod in PODS[:pods]:
        there = sum(each.size for each in wants if pod in found.assigned.get(each.model, ()))
        assert there <= 4 * GIB
    assert all(len(found.assigned.get(each.model, ())) <= each.pods for each in wants)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_new_pods_count_when_they_were_ready_and_broken_ones_for_a_while() -> None:
    clock = Clock()
    places = Places(patience=300.0, clock=clock)
    assert places.among(PODS[:2], [], []) == PODS[:2]  # a pool that is just made: all that will be
    assert places.among(PODS[:3], PODS[:2], PODS[:2]) == PODS[:2]
    assert places.among(PODS[:3], PODS[:3], PODS[:3]) == PODS[:3]
    clock.now = 299.0
    assert places.among(PODS[:3], PODS[:3], [PODS[0]]) == PODS[:3]  # replaced, or started anew
    clock.now = 301.0
    assert places.among(PODS[:3], PODS[:3], [PODS[0]]) == [PODS[0]]
    assert places.among(PODS[:1], PODS[:3], PODS[:3]) == PODS[:1]  # fewer are wanted: what leaves counts no more
    clock.now = 2000.0
    assert places.among(PODS[:2], PODS[:2], []) == PODS[:2]  # none is better than another


def situation(**more: Any) -> Situation:
    return Situation(**{"wanted": 1, "current": 3, "updating": False, "ordinals": frozenset({0, 1, 2}), "moved": True,
                        "waited": False, **more})


@pytest.mark.parametrize(("given_situation", "wanted"), [
    (situation(current=None), Scale(1, Step.UP)),
    (situation(current=1), Scale(1, Step.DONE)),
    (situation(wanted=5), Scale(5, Step.UP)),
    (situation(), Scale(2, Step.DOWN)),
    (situation(moved=False), Scale(3, Step.WAIT_MODELS)),
    (situation(moved=False, waited=True), Scale(2, Step.DOWN)),
    (situation(updating=True), Scale(3, Step.WAIT_ROLLOUT)),
    (situation(updating=True, waited=True), Scale(2, Step.DOWN)),
    (situation(ordinals=frozenset({0, 1, 2, 3})), Scale(3, Step.WAIT_PODS)),
    (situation(ordinals=frozenset({0, 1, 2, 3}), waited=True), Scale(3, Step.WAIT_PODS)),
    (situation(wanted=0, current=1, ordinals=frozenset({0})), Scale(0, Step.DOWN)),
])
def test_a_pool_shrinks_one_pod_at_a_time_and_grows_at_once(given_situation: Situation, wanted: Scale) -> None:
    assert scale(given_situation) == wanted


def stateful_set(generation: int = 2, strategy: dict[str, Any] | None = None, **found: Any) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "spec": {"replicas": 3, "updateStrategy": strategy or {}},
            "status": {"observedGeneration": 2, "currentRevision": "a", "updateRevision": "a", **found}}


@pytest.mark.parametrize(("found", "wanted"), [
    (None, False),
    ({"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {"replicas": 0}}, False),
    (stateful_set(), False),
    (stateful_set(generation=3), True),
    (stateful_set(updateRevision="b", updatedReplicas=1), True),
    (stateful_set(updateRevision="b", updatedReplicas=3), False),
    (stateful_set(strategy={"rollingUpdate": {"partition": 2}}, updateRevision="b", updatedReplicas=1), False),
    (stateful_set(strategy={"type": "OnDelete"}, updateRevision="b"), False),
])
def test_whether_pods_are_being_replaced(found: Any, wanted: bool) -> None:
    assert updating(found) is wanted


@pytest.mark.parametrize(("given_pod", "wanted"), [
    ({"reported": "h2", "annotation": "h2", "since": 0.0}, Nudge(None, None)),
    ({"reported": "h2", "annotation": "h1", "since": 0.0}, Nudge(None, None)),
    ({"reported": "h1", "annotation": None, "since": None}, Nudge("h2", 5.0)),
    ({"reported": "h1", "annotation": "h1.3", "since": 1.0}, Nudge("h2", 5.0)),
    ({"reported": None, "annotation": "h2", "since": 1.0}, Nudge(None, 4.0)),
    ({"reported": None, "annotation": "h2", "since": 5.0}, Nudge("h2.1", 10.0)),
    ({"reported": None, "annotation": "h2.1", "since": 9.0}, Nudge(None, 1.0)),
    ({"reported": None, "annotation": "h2.9", "since": 60.0}, Nudge("h2.10", 60.0)),
    ({"reported": None, "annotation": "h2.x", "since": None}, Nudge(None, 5.0)),
])
def test_pods_are_nudged_until_they_report(given_pod: dict[str, Any], wanted: Nudge) -> None:
    assert nudge("h2", **given_pod) == wanted


def seen(**more: Any) -> Seen:
    return Seen(**{
        "pool": pool(replicas=2), "stateful_set": {"readyReplicas": 2}, "existing": 2, "updating": False,
        "step": Step.DONE, "generation": 7, "hash": "hash", "trouble": None, "models": PoolModels(total=3, ready=3),
        "states": {name: pod_state(pod=name) for name in ("p-0", "p-1")}, "now": NOW, **more})


def pressed(pressure: Pressure) -> PodState:
    state = pod_state()
    return state.model_copy(update={"memory": state.memory.model_copy(update={"pressure": pressure})})


def truths(found: Seen) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in status(found).conditions}


def test_a_pool_at_rest() -> None:
    golden("pool-status", status(seen()).model_dump(mode="json", by_alias=True, exclude_none=True))


@pytest.mark.parametrize(("more", "wanted"), [
    ({"stateful_set": {}}, {"Ready": ("False", "PodsNotReady"), "Progressing": ("True", "PodsStarting")}),
    ({"states": {}}, {"Ready": ("False", "ConfigurationPending"), "Progressing": ("True", "ConfigurationPending")}),
    ({"updating": True}, {"Ready": ("True", "Ready"), "Progressing": ("True", "RollingOut")}),
    ({"step": Step.WAIT_MODELS}, {"Progressing": ("True", "ScalingDown")}),
    ({"trouble": Trouble("StatefulSetRefused", "no")}, {"Degraded": ("True", "StatefulSetRefused")}),
    ({"states": {"p-0": pod_state().model_copy(update={"config_error": "bad"})}},
     {"Degraded": ("True", "ConfigurationRefused")}),
    ({}, {"MemoryPressure": ("False", "EnoughMemory"), "Ready": ("True", "Ready")}),
    ({"states": {"p-0": pressed(Pressure.HIGH), "p-1": pod_state()}},
     {"MemoryPressure": ("True", "MemoryHigh"), "Ready": ("True", "Ready"), "Degraded": ("False", "AsWanted")}),
    ({"states": {"p-0": pressed(Pressure.HIGH), "p-1": pressed(Pressure.CRITICAL)}},
     {"MemoryPressure": ("True", "MemoryCritical")}),
])
def test_what_a_pool_says_of_itself(more: dict[str, Any], wanted: dict[str, tuple[str, str]]) -> None:
    assert wanted.items() <= truths(seen(**more)).items()


def test_the_pools_turns_are_told_once() -> None:
    first = status(seen(step=Step.UP, stateful_set={}, existing=0))
    ready = status(seen())
    broken = status(seen(trouble=Trouble("ConfigurationTooLarge", "x")))
    assert [(each.type, each.reason) for each in story("u", None, first)] == [("Normal", "ScalingUp")]
    assert [(each.type, each.reason) for each in story("u", first, ready)] == [("Normal", "Ready")]
    assert story("u", ready, ready) == []
    short = status(seen(states={"p-0": pressed(Pressure.CRITICAL), "p-1": pod_state()}))
    assert [(each.type, each.reason) for each in story("u", ready, short)] == [("Warning", "MemoryCritical")]
    assert [(each.type, each.reason) for each in story("u", short, ready)] == [("Normal", "EnoughMemory")]
    assert "p-0 (critical): raise spec.memory" in next(
        each.message for each in short.conditions if each.type == "MemoryPressure")
    assert [(each.type, each.reason) for each in story("u", ready, broken)] == [("Warning", "ConfigurationTooLarge")]
    assert [(each.type, each.reason) for each in story("u", broken, ready)] == [("Normal", "AsWanted")]
