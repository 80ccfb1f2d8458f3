"""Single decisions of the scheduler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paddock_runtime.scheduler import (
    Budget,
    Decision,
    Evict,
    EvictReason,
    Load,
    Refuse,
    Resident,
    State,
    Wanted,
    decide,
)

BUDGET = Budget(
    memory_bytes=100, concurrent_loads=2, service_seconds=5.0, points_per_second=10.0, max_wait_seconds=30.0)
NOW = 1000.0


def resident(key: str, size: int = 60, **changes: Any) -> Resident:
    """An idle context, alone in its engine, old enough to go."""
    given: dict[str, Any] = {"weights": f"w-{key}", "context_bytes": 10, "weights_bytes": size - 10,
                             "loaded_at": NOW - 100, "last_used": NOW - 50}
    return Resident(key=key, **{**given, **changes})


def want(key: str, size: int = 60, **changes: Any) -> Wanted:
    given: dict[str, Any] = {"weights": f"w-{key}", "context_bytes": 10, "weights_bytes": size - 10, "since": NOW - 1}
    return Wanted(key=key, **{**given, **changes})


def at(residents: list[Resident], wanted: list[Wanted], now: float = NOW, budget: Budget = BUDGET) -> Decision:
    return decide(budget, residents, wanted, now)


def loads(decision: Decision) -> list[str]:
    return [action.key for action in decision.actions if isinstance(action, Load)]


def evictions(decision: Decision) -> list[str]:
    return [action.key for action in decision.actions if isinstance(action, Evict)]


def test_what_fits_is_loaded() -> None:
    assert sorted(loads(at([], [want("a", 60), want("b", 40)]))) == ["a", "b"]


def test_an_idle_context_makes_room_and_the_load_waits_until_it_is_gone() -> None:
    decision = at([resident("a")], [want("b")])
    assert decision.actions == (Evict("a", EvictReason.ROOM, "b"),)
    leaving = resident("a", state=State.DRAINING)
    assert at([leaving], [want("b")]).actions == ()
    assert at([], [want("b")]).actions == (Load("b"),)


@pytest.mark.parametrize("kept_there", [
    {"busy": 1, "last_used": NOW}, {"state": State.LOADING}, {"pinned": True}, {"min_residency": 200.0}])
def test_what_is_busy_loading_pinned_or_young_is_no_victim(kept_there: dict[str, Any]) -> None:
    assert evictions(at([resident("a", **kept_there)], [want("b")])) == []
    assert evictions(at([resident("a")], [want("b")])) == ["a"]


def test_pinned_contexts_stay_even_if_nothing_is_worth_less() -> None:
    pinned = resident("pinned", 40, pinned=True, priority=-1000, last_used=NOW - 99)
    valued = resident("valued", 40, priority=1000, last_used=NOW)
    assert evictions(at([pinned, valued], [want("x", 40)])) == ["valued"]
    grown = resident("grown", 70, pinned=True)
    assert evictions(at([grown, pinned], [])) == [], "not even when memory grew over the budget"


def test_victims_go_by_policy_then_priority_then_least_recent_use() -> None:
    recent = resident("recent", 30, last_used=NOW - 1)
    old = resident("old", 30, last_used=NOW - 90)
    important = resident("important", 30, last_used=NOW - 99, priority=5)
    kept = resident("kept", 10, last_used=NOW - 99, kept=True, priority=-5)
    everyone = [kept, important, recent, old]
    assert evictions(at(everyone, [want("x", 30)])) == ["old"]
    assert evictions(at(everyone, [want("x", 60)])) == ["old", "recent"]
    assert evictions(at(everyone, [want("x", 90)])) == ["old", "recent", "important"]
    assert evictions(at(everyone, [want("x", 100)])) == ["old", "recent", "important", "kept"]


def test_who_spares_the_least_waiting_for_its_bytes_goes_first() -> None:
    often = resident("often", 30, last_used=NOW - 90, use_rate=0.1)
    seldom = resident("seldom", 30, last_used=NOW - 1, use_rate=0.01)
    assert evictions(at([often, seldom], [want("x", 70)])) == ["seldom"]
    slow = resident("slow", 30, last_used=NOW - 90, use_rate=0.01, load_seconds=9.0)
    assert evictions(at([slow, seldom], [want("x", 70)])) == ["seldom"]
    large = resident("large", 60, last_used=NOW - 1, use_rate=0.1)
    assert evictions(at([often, large], [want("x", 70)])) == ["large"]
    important = resident("important", 30, last_used=NOW - 90, use_rate=0.006, priority=10)
    assert evictions(at([important, seldom], [want("x", 70)])) == ["seldom"]
    assert evictions(at([replace(important, priority=0), seldom], [want("x", 70)])) == ["important"]
    kept = resident("kept", 30, kept=True)
    assert evictions(at([kept, often], [want("x", 70)])) == ["often"]


def test_what_serves_many_soon_goes_before_what_serves_one_late() -> None:
    one, many = want("one", 60, waiters=1), want("many", 60, waiters=9)
    assert loads(at([], [one, many])) == ["many"]
    assert loads(at([resident("p", 40, pinned=True)], [want("l", 60), want("s", 30)])) == ["s"]
    assert loads(at([], [replace(one, since=NOW - 4), replace(many, waiters=10_000)])) == ["one"], "but not for ever"
    assert loads(at([], [replace(one, priority=31), replace(many, waiters=10_000)])) == ["one"]


def test_no_one_is_evicted_in_vain() -> None:
    """The small one goes first by age, but the large one is needed anyway, and enough."""
    small, large = resident("small", 10, last_used=NOW - 99), resident("large", 80, last_used=NOW - 1)
    assert evictions(at([small, large], [want("x", 80)])) == ["large"]


def test_weights_are_paid_once_and_leave_with_the_last_context() -> None:
    one = resident("one", weights="w", weights_bytes=70, context_bytes=10)
    other = want("other", weights="w", weights_bytes=70, context_bytes=10)
    assert at([one], [other]).actions == (Load("other"),)
    two = resident("two", weights="w", weights_bytes=70, context_bytes=10)
    assert evictions(at([one, two], [want("x", 90)])) == ["one", "two"]
    assert evictions(at([one, two], [want("x", 20)])) == ["one"]


def test_no_load_into_an_engine_that_is_going() -> None:
    going = resident("one", weights="w", weights_bytes=20, context_bytes=10, state=State.DRAINING)
    other = want("other", weights="w", weights_bytes=20, context_bytes=10)
    assert at([going], [other]).actions == ()


def test_what_can_never_fit_is_refused_with_the_numbers() -> None:
    assert at([], [want("a", 101)]).actions == (Refuse("a", 101, 100, forever=True),)


def test_what_pinned_contexts_leave_no_room_for_is_refused_for_now() -> None:
    pinned = resident("p", 60, pinned=True)
    assert at([pinned], [want("a", 60)]).actions == (Refuse("a", 60, 40, forever=False),)
    assert at([pinned], [want("a", 40)]).actions == (Load("a"),)


def test_a_load_that_nobody_waits_for_is_dropped() -> None:
    assert at([], [want("a", waiters=0)]).actions == ()
    assert at([], [want("a", deadline=NOW - 0.1)]).actions == ()
    assert at([], [want("a", deadline=NOW + 0.1)]).actions == (Load("a"),)


def test_no_more_loads_at_once_than_allowed() -> None:
    wants = [want(name, 10) for name in "abc"]
    assert len(loads(at([], wants))) == 2
    assert len(loads(at([resident("x", 10, state=State.LOADING)], wants))) == 1


def test_spare_loads_take_only_free_room() -> None:
    assert at([resident("a")], [want("b", spare=True)]).actions == ()
    assert at([resident("a", 20)], [want("b", spare=True)]).actions == (Load("b"),)
    assert loads(at([], [want("b", spare=True, priority=1000), want("c")])) == ["c"]


def test_a_busy_context_keeps_its_turn_then_takes_nothing_new_then_goes() -> None:
    busy = resident("a", busy=3, waiting=9)
    waits = want("b", since=NOW - 2)
    decision = at([busy], [waits])
    assert decision == Decision((), frozenset(), NOW + 3, {"b": NOW + 3})
    late = at([busy], [waits], now=NOW + 3)
    assert late == Decision((), frozenset({"a"}), None)
    done = resident("a", busy=0, waiting=9)
    assert evictions(at([done], [waits], now=NOW + 4)) == ["a"]


def test_a_turn_begins_when_the_load_is_done() -> None:
    fresh = resident("a", busy=1, loaded_at=NOW - 1)
    assert at([fresh], [want("b", since=NOW - 20)]).wake_at == NOW + 4


def test_a_turn_is_open_again_when_nobody_waits_any_more() -> None:
    assert at([resident("a", busy=1)], [want("b", since=NOW - 9, deadline=NOW - 1)]).closed == frozenset()


def test_a_b_a_b_becomes_a_a_b_b() -> None:
    """While A still has work within its turn, B waits; once A has none, B comes, however many of A come later."""
    with_work = resident("a", busy=0, waiting=2, last_used=NOW)
    assert evictions(at([with_work], [want("b")])) == []
    without = resident("a", busy=0, waiting=0, last_used=NOW)
    assert evictions(at([without], [want("b")])) == ["a"]


def test_the_higher_priority_comes_first_until_the_other_has_waited() -> None:
    one, other = want("low", 60, since=NOW - 1), want("high", 60, priority=50, since=NOW)
    assert loads(at([], [one, other])) == ["high"]
    assert loads(at([], [want("low", 60, since=NOW - 6), other])) == ["low"]


def test_who_waited_too_long_goes_before_any_priority() -> None:
    wants = [want("low", priority=-1000, since=NOW - 31), want("high", priority=1000, since=NOW - 29)]
    assert loads(at([], wants)) == ["low"]


def test_a_small_one_may_pass_but_not_into_room_that_is_kept() -> None:
    busy = resident("a", 60, busy=1)
    large = want("large", 90, since=NOW - 3)
    assert loads(at([busy], [large, want("small", 10)])) == ["small"]
    assert loads(at([busy], [large, want("small", 11)])) == []


def test_an_older_revision_gives_way_first_without_a_turn_of_its_own() -> None:
    old = resident("old", busy=1, superseded=True, min_residency=1e6)
    assert at([old], [want("new")]).closed == {"old"}
    idle = resident("idle", 40, last_used=NOW)
    assert evictions(at([old, idle], [want("new", 40)])) == ["idle"]  # beside the old one, unseen by its clients


def test_idle_contexts_leave_after_their_time_and_not_before() -> None:
    idle = resident("a", idle_timeout=60.0, last_used=NOW - 59)
    assert at([idle], []) == Decision((), frozenset(), NOW + 1)
    assert at([idle], [], now=NOW + 1).actions == (Evict("a", EvictReason.IDLE),)
    for stays in ({"pinned": True}, {"kept": True}, {"busy": 1}, {"min_residency": 1e6}):
        assert at([resident("a", idle_timeout=0.0, **stays)], []).actions == ()
    assert at([resident("a", idle_timeout=0.0)], []).actions == (Evict("a", EvictReason.IDLE),)


def test_what_no_model_refers_to_leaves_when_it_is_done() -> None:
    assert at([resident("a", unwanted=True, busy=1)], []).actions == ()
    assert at([resident("a", unwanted=True, min_residency=1e6, waiting=3)], []).actions == (
        Evict("a", EvictReason.UNWANTED),)


def test_memory_over_the_budget_is_relieved_by_the_least_valuable_idle_ones() -> None:
    grown = [resident("a", 60, last_used=NOW - 2), resident("b", 60, last_used=NOW - 9), resident("c", 60, busy=1)]
    assert at(grown, []).actions == (Evict("b", EvictReason.PRESSURE), Evict("a", EvictReason.PRESSURE))


def test_thousands_of_wants_cost_little_more_than_a_few() -> None:
    """The number of wants planned for is bounded: counted by the decisions' size, not by time."""
    residents = [resident(f"r{number}", 10, busy=1) for number in range(300)]
    budget = Budget(memory_bytes=3000, concurrent_loads=2)
    decision = decide(budget, residents, [want(f"w{number}", 10, since=NOW - 100) for number in range(5000)], NOW)
    assert len(decision.closed) == 10
