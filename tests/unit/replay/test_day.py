"""A synthetic day: fifty Models, twenty thousand requests, room for eight. Ours against the plain ones.

The seeds are three of the six that the scheduler's numbers were chosen with; docs/design/2026-11-plan.md says how other
days went.
"""

from __future__ import annotations

from collections import Counter

import pytest

from paddock_runtime.replay import STRATEGIES, compare
from paddock_runtime.replay.day import DAY, room_for, synthetic_day
from paddock_runtime.scheduler import Budget


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ours_loads_the_least_and_waits_the_least(seed: int) -> None:
    day = synthetic_day(seed)
    room = room_for(day, 8)
    outcomes = {each.policy: each.outcome for each in compare(day, Budget(memory_bytes=room), [room])}
    for policy, outcome in outcomes.items():
        print(f"seed {seed} {policy:9} {outcome.summary()}")
        assert len(outcome.waits) == 20_000, "everybody is served"
    assert outcomes.keys() == STRATEGIES.keys()
    ours = outcomes.pop("paddock")
    assert ours.loads < min(other.loads for other in outcomes.values())
    assert ours.percentile(0.95) < min(other.percentile(0.95) for other in outcomes.values())
    assert ours.mean < min(other.mean for other in outcomes.values())


def test_a_day_is_what_it_says() -> None:
    day = synthetic_day(7)
    assert day == synthetic_day(7)
    assert day != synthetic_day(8)
    assert (len(day.models), len(day.requests)) == (50, 20_000)
    times = [request.time for request in day.requests]
    assert times == sorted(times)
    afternoon = sum(12 * 3600 <= at < 16 * 3600 for at in times)
    night = sum(0 <= at < 4 * 3600 for at in times)
    assert afternoon > 2 * night, "a day has a rhythm"
    most = [count for _, count in Counter(request.model for request in day.requests).most_common()]
    assert most[0] > 10 * most[len(most) // 2], "a few are asked for most"
    assert 0 <= times[0] < times[-1] < 1.2 * DAY
