"""Memory pressure: levels that do not flap, and relief in its order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from paddock_api.state import Pressure
from paddock_runtime.lifecycle.pressure import Reading, Situation, Thresholds, judge, level, relief
from paddock_runtime.scheduler import Budget, Evict, EvictReason, Resident, decide

LIMITS = Thresholds()
RANK = [Pressure.OK, Pressure.HIGH, Pressure.CRITICAL]
LIMIT = 10_000

levels = st.sampled_from(RANK)
amounts = st.integers(0, LIMIT * 2)


def reading(measured: int = 0, used: int = 0, stalled: float = 0.0) -> Reading:
    return Reading(measured=measured, budget=LIMIT, used=used, limit=LIMIT, stalled=stalled)


def situation(*readings: Reading) -> Situation:
    now = Situation()
    for each in readings:
        now = judge(now, each, LIMITS)
    return now


@given(levels, amounts, amounts)
def test_more_memory_is_never_less_pressure(before: Pressure, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert RANK.index(level(before, less, LIMIT, LIMITS)) <= RANK.index(level(before, more, LIMIT, LIMITS))


@given(levels, amounts)
def test_a_second_look_at_the_same_changes_nothing(before: Pressure, used: int) -> None:
    once = level(before, used, LIMIT, LIMITS)
    assert level(once, used, LIMIT, LIMITS) is once


@given(levels, st.integers(0, LIMIT), st.lists(st.integers(-199, 199), max_size=20))
def test_a_level_does_not_flap_while_memory_moves_by_less_than_the_margin(
        before: Pressure, used: int, moves: list[int]) -> None:
    """Half the margin up or down: at most one change, and that at the first look."""
    assert LIMITS.margin * LIMIT >= 400
    first = level(before, used, LIMIT, LIMITS)
    seen = [first]
    for move in moves:
        seen.append(level(seen[-1], used + move, LIMIT, LIMITS))
    changes = sum(one is not other for one, other in pairwise(seen))
    assert changes <= 1


def test_the_thresholds() -> None:
    assert [level(Pressure.OK, used, LIMIT, LIMITS).value for used in (8999, 9000, 9599, 9600, 10_000)] == [
        "ok", "high", "high", "critical", "critical"]
    assert [level(Pressure.CRITICAL, used, LIMIT, LIMITS).value for used in (9200, 9199, 8600, 8599)] == [
        "critical", "high", "high", "ok"]


def test_the_worst_source_counts_and_says_why() -> None:
    assert situation(reading(measured=9100)).why == "the engines nearly fill the budget"
    assert situation(reading(measured=9100, used=9700)).why == "the container nearly fills its limit"
    stalled = situation(reading(stalled=30.0))
    assert (stalled.level, stalled.why) == (Pressure.HIGH, "everything waits for memory")
    assert judge(stalled, reading(stalled=11.0), LIMITS).level is Pressure.HIGH
    assert judge(stalled, reading(stalled=9.0), LIMITS).level is Pressure.OK


def test_without_a_limit_the_container_is_never_short() -> None:
    unlimited = Reading(measured=0, budget=LIMIT, used=LIMIT * 9, limit=None)
    assert judge(Situation(), unlimited, LIMITS).level is Pressure.OK


def test_relief_comes_in_its_order() -> None:
    """Caches, then idle contexts; while the container is short nothing new is loaded."""
    short = reading(used=9900)
    first = situation(short)
    one = relief(Situation(), first, short, LIMITS, leaving=False)
    assert (one.trim, one.free_bytes, one.hold) == (True, 0, True)
    second = judge(first, short, LIMITS)
    two = relief(first, second, short, LIMITS, leaving=False)
    assert (two.trim, two.free_bytes, two.hold) == (False, 9900 - 9200, True)
    assert relief(first, second, short, LIMITS, leaving=True).free_bytes == 0, "somebody leaves already"
    eased = reading(used=9100)
    third = judge(second, eased, LIMITS)
    three = relief(second, third, eased, LIMITS, leaving=False)
    assert (three.trim, three.free_bytes, three.hold) == (False, 0, False)


@given(levels, levels, levels, st.booleans(), amounts, amounts, st.booleans())
def test_relief_is_never_more_than_what_is_too_much(budget: Pressure, container: Pressure, stall: Pressure,
                                                    lasting: bool, measured: int, used: int, leaving: bool) -> None:
    before = Situation(budget=budget, container=container, stall=stall, lasting=lasting)
    seen = reading(measured, used)
    now = judge(before, seen, LIMITS)
    given_ = relief(before, now, seen, LIMITS, leaving=leaving)
    assert 0 <= given_.free_bytes <= max(measured, used)
    assert given_.hold == (now.container is Pressure.CRITICAL)
    if now.level is not Pressure.CRITICAL or before.level is not Pressure.CRITICAL or leaving:
        assert given_.free_bytes == 0
    if given_.free_bytes:
        target = (LIMITS.critical - LIMITS.margin) * LIMIT
        assert max(measured, used) - given_.free_bytes <= target + 1


residents = st.lists(st.builds(
    Resident, key=st.uuids().map(str), weights=st.uuids().map(str), context_bytes=st.integers(0, 500),
    weights_bytes=st.integers(1, 2000), busy=st.integers(0, 1), last_used=st.floats(0, 90),
    pinned=st.booleans(), priority=st.integers(0, 3)), max_size=8)


@given(residents, st.integers(1, 6000))
def test_the_scheduler_frees_what_is_ordered_from_idle_contexts_and_not_more_than_needed(
        held: list[Resident], order: int) -> None:
    budget = Budget(memory_bytes=1 << 40, free_bytes=order)
    actions = decide(budget, held, [], 100.0).actions
    gone = {action.key for action in actions if isinstance(action, Evict)}
    assert all(isinstance(action, Evict) and action.reason is EvictReason.PRESSURE for action in actions)
    idle = [each for each in held if not each.busy and not each.pinned]
    assert gone <= {each.key for each in idle}
    freed = [each.context_bytes + each.weights_bytes for each in held if each.key in gone]
    if len(gone) < len(idle):
        assert sum(freed) >= order
    if freed:
        last = next(action.key for action in reversed(actions) if isinstance(action, Evict))
        last_size = next(each.context_bytes + each.weights_bytes for each in held if each.key == last)
        assert sum(freed) - last_size < order


def test_without_an_order_nothing_is_freed() -> None:
    held = [Resident(key="a", weights="w", context_bytes=1, weights_bytes=1, last_used=99.0)]
    assert decide(Budget(memory_bytes=100), held, [], 100.0).actions == ()
