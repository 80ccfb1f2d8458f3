"""When a pool's passes begin: bursts of Models share one, nobody waits for ever, and the owner's changes not at all."""

from __future__ import annotations

from paddock_operator.pool.pace import COST_SHARE, GATHER, LOOK, MOST_PACE, PACE, Pace


def test_the_first_pass_begins_at_once_also_in_a_burst() -> None:
    assert Pace().wait(100.0, 1, burst=False) == 0.0
    assert Pace().wait(100.0, 1, burst=True) == 0.0


def test_passes_are_apart_and_costly_ones_further() -> None:
    pace = Pace()
    pace.begin(100.0, 1)
    assert pace.wait(100.25, 1, burst=False) == PACE - 0.25
    assert pace.wait(100.0 + PACE, 1, burst=False) == 0.0
    pace.cost = 2.0
    assert pace.wait(101.0, 1, burst=False) == COST_SHARE * 2.0 - 1.0
    pace.cost = 60.0
    assert pace.wait(100.0, 1, burst=False) == MOST_PACE


def test_a_burst_is_gathered_until_it_ends_or_for_so_long() -> None:
    pace = Pace()
    pace.begin(100.0, 1)
    assert pace.wait(110.0, 1, burst=True) == LOOK
    assert pace.wait(112.0, 1, burst=True) == LOOK
    assert pace.wait(112.0, 1, burst=False) == 0.0, "it is over"
    assert pace.wait(120.0, 1, burst=True) == LOOK, "another one, with a patience of its own"
    waited, now = 0.0, 120.0
    while (wait := pace.wait(now, 1, burst=True)) > 0:
        waited, now = waited + wait, now + wait
    assert abs(waited - GATHER) < 1e-9
    pace.begin(now, 1)
    assert pace.wait(now + PACE, 1, burst=True) == LOOK, "after a pass it gathers anew"


def test_what_the_owner_changed_waits_for_no_models() -> None:
    pace = Pace()
    pace.begin(100.0, 1)
    assert pace.wait(110.0, 2, burst=True) == 0.0
    assert pace.wait(100.5, 2, burst=True) == PACE - 0.5
