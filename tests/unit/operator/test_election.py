from __future__ import annotations

from dataclasses import replace

import pytest

from paddock_operator.election import Leadership, NotLeader, Record, Seen, Timing, released, see, wanted

TIMING = Timing()
HELD = Record(holder="other", duration=15.0, acquired=1.0, renewed=2.0, transitions=4, version="7")


def test_a_lease_that_is_missing_is_made() -> None:
    assert wanted("me", None, 0.0, 100.0, TIMING) == Record(holder="me", duration=15.0, acquired=100.0, renewed=100.0)


def test_another_leader_is_left_alone_until_its_lease_was_seen_unchanged_for_its_whole_time() -> None:
    seen = Seen(HELD, at=50.0)
    assert wanted("me", seen, 64.9, 0.0, TIMING) is None
    taken = wanted("me", seen, 65.0, 200.0, TIMING)
    assert taken == Record(holder="me", duration=15.0, acquired=200.0, renewed=200.0, transitions=5, version="7")


def test_the_time_of_a_lease_is_the_one_its_holder_wrote() -> None:
    long = Seen(replace(HELD, duration=60.0), at=0.0)
    assert wanted("me", long, 59.0, 0.0, TIMING) is None
    assert wanted("me", long, 60.0, 0.0, TIMING) is not None


def test_only_a_change_starts_the_time_anew_never_a_clock_that_was_set() -> None:
    first = see(None, HELD, 10.0)
    assert see(first, HELD, 20.0) == first
    assert see(first, replace(HELD, version="8", renewed=99.0), 20.0).at == 20.0
    for wall in (-3600.0, 0.0, 7200.0):
        assert wanted("me", first, 24.9, wall, TIMING) is None


def test_a_released_lease_is_taken_at_once() -> None:
    seen = see(None, released(HELD, 5.0), 10.0)
    assert seen.record.holder == ""
    assert wanted("me", seen, 10.0, 6.0, TIMING) is not None


def test_an_own_lease_is_renewed_without_a_transition() -> None:
    mine = Seen(replace(HELD, holder="me"), at=0.0)
    assert wanted("me", mine, 1000.0, 9.0, TIMING) == replace(HELD, holder="me", renewed=9.0)


class Hands:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_writes_end_before_anybody_else_could_lead() -> None:
    clock = Hands()
    leadership = Leadership(TIMING, clock)
    with pytest.raises(NotLeader):
        leadership.write_timeout()
    leadership.renewed(began=98.0)
    for now in (98.0, 100.0, 104.0, 107.9):
        clock.now = now
        assert now + leadership.write_timeout() <= 98.0 + TIMING.duration - TIMING.margin
    clock.now = 108.0
    assert not leadership.holds
    with pytest.raises(NotLeader):
        leadership.write_timeout()


def test_a_lost_lead_is_lost_at_once() -> None:
    leadership = Leadership(TIMING, Hands())
    leadership.renewed(began=100.0)
    assert leadership.remaining == TIMING.renew_deadline
    leadership.lost()
    assert leadership.remaining == 0.0


@pytest.mark.parametrize("times", [
    {"duration": 10.0}, {"renew_deadline": 14.5}, {"retry": 10.0}, {"retry": 0.0}, {"duration": 10.5}])
def test_times_that_do_not_go_together_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must exceed"):
        Timing(**times)
