"""Replays over virtual time: small ones that can be counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from paddock_runtime import scheduler
from paddock_runtime.lifecycle import decider
from paddock_runtime.planning import fitting
from paddock_runtime.replay import (
    STRATEGIES,
    Candidate,
    Outcome,
    Request,
    Trace,
    TraceError,
    compare,
    parse_trace,
    replay,
)
from paddock_runtime.replay.simulator import UNLOAD_SECONDS
from paddock_runtime.scheduler import Budget, Decision, Resident, Wanted

ONE = Budget(memory_bytes=100)  # room for one


def model(name: str, size: int = 60, **changes: object) -> Candidate:
    base = Candidate(key=name, weights=f"w-{name}", weights_bytes=size - 10, context_bytes=10, load_seconds=2.0,
                     min_residency=0.0)
    return replace(base, **changes)  # type: ignore[arg-type]


def trace(models: list[Candidate], *asked: tuple[float, str, float]) -> Trace:
    return Trace({each.key: each for each in models}, tuple(Request(*each) for each in asked))


def test_the_server_and_a_replay_decide_by_the_very_same_function() -> None:
    server, ours = vars(decider)["decide"], STRATEGIES["paddock"]
    assert ours is server is scheduler.decide is vars(fitting)["decide"]
    asked: list[float] = []

    def noting(budget: Budget, residents: Sequence[Resident], wanted: Sequence[Wanted], now: float) -> Decision:
        asked.append(now)
        return scheduler.decide(budget, residents, wanted, now)

    result = replay(trace([model("a")], (5.0, "a", 1.0)), ONE, noting)
    assert result.loads == 1
    assert asked[0] == 5.0


@pytest.mark.parametrize("policy", STRATEGIES)
def test_a_first_request_waits_for_the_load_and_the_second_for_nothing(policy: str) -> None:
    result = replay(trace([model("a")], (0.0, "a", 1.0), (10.0, "a", 1.0)), ONE, STRATEGIES[policy])
    assert (result.loads, result.evictions, result.waits) == (1, 0, [2.0, 0.0])
    assert (result.mean, result.percentile(0.5), result.percentile(1.0), result.waited) == (1.0, 2.0, 2.0, 0.5)


@pytest.mark.parametrize("policy", STRATEGIES)
def test_an_idle_one_makes_room(policy: str) -> None:
    result = replay(trace([model("a"), model("b")], (0.0, "a", 1.0), (10.0, "b", 1.0)), ONE, STRATEGIES[policy])
    assert (result.loads, result.evictions) == (2, 1)
    assert result.waits == [2.0, pytest.approx(UNLOAD_SECONDS + 2.0)]


def test_a_b_a_b_becomes_a_a_b_b_here_too() -> None:
    asked = [(0.1 * number, "ab"[number % 2], 0.5) for number in range(40)]
    ours = replay(trace([model("a"), model("b")], *asked), ONE, STRATEGIES["paddock"])
    assert ours.loads == 2
    assert len(ours.waits) == 40


@pytest.mark.parametrize("policy", STRATEGIES)
def test_what_can_never_fit_is_refused_and_all_else_is_served(policy: str) -> None:
    result = replay(trace([model("a"), model("huge", 101)], (0.0, "huge", 1.0), (0.0, "a", 1.0)), ONE,
                    STRATEGIES[policy])
    assert (result.refused, result.waits) == (1, [2.0])


@pytest.mark.parametrize("policy", STRATEGIES)
def test_pinned_ones_are_loaded_without_a_request_and_stay(policy: str) -> None:
    models = [model("p", 50, pinned=True, kept=True), model("a", 50), model("b", 50)]
    asked = [(5.0 + 5 * number, "ab"[number % 2], 0.5) for number in range(10)]
    result = replay(trace(models, *asked, (100.0, "p", 1.0)), ONE, STRATEGIES[policy])
    assert result.loads == 11
    assert result.waits[-1] == 0.0


def test_models_of_one_context_are_loaded_once_and_weights_are_paid_once() -> None:
    shared = model("a")
    same, other = trace([shared], (0.0, "a", 1.0), (20.0, "a", 1.0)), model("c", weights="w-a")
    assert replay(same, ONE, STRATEGIES["paddock"]).loads == 1
    both = replay(trace([shared, other], (0.0, "a", 1.0), (9.0, "c", 1.0)), ONE, STRATEGIES["paddock"])
    assert (both.loads, both.evictions) == (2, 0)


def test_idle_time_outs_hold_for_every_policy() -> None:
    asked = [(0.0, "a", 1.0), (400.0, "a", 1.0), (401.0, "b", 0.0)]
    roomy = Budget(memory_bytes=1000)
    for strategy in STRATEGIES.values():
        result = replay(trace([model("a", idle_timeout=60.0), model("b")], *asked), roomy, strategy)
        assert (result.loads, result.evictions) == (3, 1)


def test_budgets_and_policies_side_by_side() -> None:
    asked = [(10.0 * number, "ab"[number % 2], 1.0) for number in range(20)]
    compared = compare(trace([model("a"), model("b")], *asked), ONE, [100, 200])
    assert [(each.policy, each.memory_bytes) for each in compared] == [
        (policy, size) for size in (100, 200) for policy in ("paddock", "lru", "priority")]
    assert [each.outcome.loads for each in compared] == [20, 20, 20, 2, 2, 2]
    assert compared[0].outcome.summary()["waitP95"] == pytest.approx(2.0 + UNLOAD_SECONDS)


def test_percentiles_of_nothing_are_nothing() -> None:
    assert Outcome().summary()["waitP95"] == 0.0


GOOD = """
{"model": "a", "weightsBytes": 50, "contextBytes": 10, "loadSeconds": 2, "priority": 3, "decodeTokensPerSecond": 10}
{"time": "2026-11-25T08:00:10Z", "model": "a", "seconds": 2.5}
{"time": "2026-11-25T08:00:00Z", "model": "a", "promptTokens": 300, "completionTokens": 40}
"""


def test_a_usage_file_is_read_in_any_order_and_begins_at_zero() -> None:
    found = parse_trace(GOOD.splitlines())
    assert found.requests == (Request(0.0, "a", 5.0), Request(10.0, "a", 2.5))
    assert found.models["a"].bytes == 60
    assert found.models["a"].priority == 3


def test_sizes_may_come_from_elsewhere_and_go_by_several_names() -> None:
    known = {"a": model("ctx"), "default/a": model("ctx")}
    lines = ['{"time": 3, "model": "a", "seconds": 1}', '{"time": 4, "model": "default/a", "seconds": 1}']
    assert [request.model for request in parse_trace(lines, known).requests] == ["ctx", "ctx"]


@pytest.mark.parametrize(("line", "says"), [
    ("{", "line 1 is not JSON"), ("[]", "model is missing"), ('{"time": 1}', "model is missing"),
    ('{"model": "x"}', "weightsBytes is missing"), ('{"time": 1, "model": "x", "seconds": 1}', "no Model 'x'"),
    ('{"time": 1, "model": "a"}', "give seconds"), ('{"time": 1, "model": "a", "seconds": -1}', "seconds is not"),
    ('{"time": "noon", "model": "a", "seconds": 1}', "is no time"),
    ('{"time": true, "model": "a", "seconds": 1}', "time is not"),
    ('{"time": NaN, "model": "a", "seconds": 1}', "time is not"), ('{"model": "a", "priority": 1.5}', "priority"),
    ('{"model": "a", "parallel": 0}', "parallel"), ("", "holds no request")])
def test_a_bad_line_is_named_with_its_field(line: str, says: str) -> None:
    with pytest.raises(TraceError, match=says):
        parse_trace([line], {"a": model("a")})
