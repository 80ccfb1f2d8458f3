"""Loads on a guess: into free room only, within their share, and the first to go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_runtime.scheduler import Budget, Decision, Evict, EvictReason, Load, Resident, State, Wanted, decide
from paddock_runtime.scheduler.room import Room

NOW = 1000.0
BUDGET = Budget(memory_bytes=100, guess_bytes=40)


def resident(key: str, size: int, **changes: Any) -> Resident:
    given_: dict[str, Any] = {"weights": f"w-{key}", "context_bytes": 10, "weights_bytes": size - 10,
                              "loaded_at": NOW - 100, "last_used": NOW - 50}
    return Resident(key=key, **{**given_, **changes})


def want(key: str, size: int, **changes: Any) -> Wanted:
    given_: dict[str, Any] = {"weights": f"w-{key}", "context_bytes": 10, "weights_bytes": size - 10, "since": NOW - 1}
    return Wanted(key=key, **{**given_, **changes})


def guess(key: str, size: int, certainty: float = 0.6) -> Wanted:
    return want(key, size, since=NOW, spare=True, guessed=certainty)


def at(residents: list[Resident], wants: list[Wanted], budget: Budget = BUDGET) -> Decision:
    return decide(budget, residents, wants, NOW)


def evictions(decision: Decision) -> list[str]:
    return [action.key for action in decision.actions if isinstance(action, Evict)]


def test_the_most_certain_guess_is_loaded_and_only_one_at_a_time() -> None:
    assert at([], [guess("a", 20, 0.6), guess("b", 20, 0.9)]).actions == (Load("b"),)
    loading = resident("b", 20, state=State.LOADING, guessed=0.9)
    assert at([loading], [guess("a", 20)]).actions == ()


def test_guesses_have_a_share_of_the_memory() -> None:
    assert at([], [guess("a", 41)]).actions == ()
    there = resident("b", 25, guessed=0.9)
    assert at([there], [guess("a", 16)]).actions == ()
    assert at([there], [guess("a", 15)]).actions == (Load("a"),)
    assert at([], [guess("a", 15)], Budget(memory_bytes=100)).actions == ()
    shared = resident("asked", 60, weights="w")
    assert at([shared], [replace(guess("a", 60), weights="w")]).actions == (Load("a"),), "weights that are there anyway"


@pytest.mark.parametrize("idle", [70, 61])
def test_a_guess_evicts_nothing(idle: int) -> None:
    assert at([resident("idle", idle)], [guess("a", 40)]).actions == ()
    assert at([resident("idle", 60)], [guess("a", 40)]).actions == (Load("a"),)


def test_while_somebody_waits_or_something_loads_nothing_is_loaded_on_a_guess() -> None:
    asked = want("asked", 60)
    assert at([], [guess("a", 20), asked]).actions == (Load("asked"),)
    assert at([resident("x", 20, state=State.LOADING)], [guess("a", 20)]).actions == ()


def test_the_least_certain_go_first_even_before_what_was_not_used_for_long() -> None:
    old = resident("old", 40, last_used=NOW - 99, priority=-50)
    sure, unsure = resident("sure", 20, guessed=0.9, priority=50), resident("unsure", 20, guessed=0.6, last_used=NOW)
    everyone = [old, sure, unsure]
    assert evictions(at(everyone, [want("x", 40)])) == ["unsure"]
    assert evictions(at(everyone, [want("x", 60)])) == ["unsure", "sure"]
    assert evictions(at([*everyone, resident("grown", 30, busy=1)], [])) == ["unsure"]


def test_who_loads_on_a_guess_makes_way_at_once_and_takes_nobody_s_turn() -> None:
    loading = resident("g", 30, state=State.LOADING, guessed=0.9, min_residency=500.0)
    assert at([loading], [want("x", 90)]).actions == (Evict("g", EvictReason.ROOM, "x"),)
    assert at([loading], [want("x", 30), want("y", 30)]).actions == (Load("x"), Load("y"))


def test_what_is_configured_to_be_loaded_drives_guesses_out_and_nothing_else() -> None:
    there = [resident("g", 30, guessed=0.9), resident("idle", 40)]
    preload = want("kept", 60, spare=True)
    assert evictions(at(there, [preload])) == ["g"]
    assert at([resident("idle", 50)], [preload]).actions == ()


def test_its_time_ends() -> None:
    over = resident("g", 30, guessed=0.9, idle_timeout=100.0)
    assert at([over], []).actions == ()
    assert decide(BUDGET, [over], [], NOW + 50).actions == (Evict("g", EvictReason.IDLE),)


def residents() -> st.SearchStrategy[list[Resident]]:
    one = st.tuples(st.integers(1, 40), st.sampled_from(["", "w0", "w1"]), st.sampled_from(list(State)),
                    st.sampled_from([None, None, 0.5, 0.9]), st.integers(0, 2), st.booleans(),
                    st.sampled_from([0.0, 200.0]), st.sampled_from([10.0, 600.0]))

    def build(drawn: list[Any]) -> list[Resident]:
        found = []
        for number, (size, weights, state, guessed, busy, pinned, residency, idle) in enumerate(drawn):
            used = guessed is None and state is State.READY
            found.append(resident(
                f"r{number}", size + 10, weights=weights or f"w-r{number}", weights_bytes=30, context_bytes=size,
                state=state, guessed=guessed, busy=busy if used else 0, pinned=pinned and guessed is None,
                min_residency=0.0 if guessed else residency, idle_timeout=idle))
        return found

    return st.lists(st.builds(tuple, one), max_size=6).map(build)


sizes = st.integers(11, 90)
askers = st.lists(st.tuples(sizes, st.booleans()), max_size=3).map(
    lambda drawn: [want(f"a{number}", size, spare=spare) for number, (size, spare) in enumerate(drawn)])
guesses = st.lists(st.tuples(sizes, st.sampled_from([0.5, 0.7, 1.0])), max_size=3).map(
    lambda drawn: [guess(f"g{number}", size, certainty) for number, (size, certainty) in enumerate(drawn)])


@given(residents(), askers, guesses)
def test_guesses_change_nothing_for_anybody_else(there: list[Resident], asked: list[Wanted], guessed: list[Wanted]
                                                 ) -> None:
    """The same evictions, loads, refusals and turns as without them; within the budget and within their share."""
    with_them, without = at(there, [*asked, *guessed]), at(there, asked)
    own = {each.key for each in guessed}
    rest = tuple(action for action in with_them.actions if action.key not in own)
    assert rest == without.actions
    assert replace(with_them, actions=rest) == without
    loaded = [action.key for action in with_them.actions if action.key in own]
    assert all(isinstance(action, Load) for action in with_them.actions if action.key in own)
    if not loaded:
        return
    by_key = {each.key: each for each in [*asked, *guessed]}
    room = Room(there)
    for action in with_them.actions:
        if isinstance(action, Load):
            room.add(by_key[action.key])
    assert room.used <= BUDGET.memory_bytes
    evicted = {action.key for action in with_them.actions if isinstance(action, Evict)}
    staying = [each for each in there if each.state is not State.DRAINING and each.key not in evicted]
    everybody, asked_for = Room(staying), Room(each for each in staying if each.guessed is None)
    for key in loaded:
        everybody.add(by_key[key])
    assert everybody.used - asked_for.used <= BUDGET.guess_bytes


@given(residents(), sizes)
def test_nobody_leaves_for_room_that_guesses_could_give(there: list[Resident], size: int) -> None:
    """Put back whoever was evicted and take all guesses instead: then it would not fit."""
    asked = want("x", size)
    decision = at(there, [asked])
    victims = {action.key for action in decision.actions if isinstance(action, Evict) and action.wanted_by == "x"}
    gone = {action.key for action in decision.actions if isinstance(action, Evict)} | decision.closed
    for each in there:
        if each.key in victims and each.guessed is None:
            staying = [other for other in there if other.state is not State.DRAINING and other.guessed is None
                       and (other.key not in gone or other is each)]
            assert Room(staying).used_with(asked) > BUDGET.memory_bytes
