"""The predictor: habits of a tenant, of the day and of the week; none from a single time; bounded; kept."""

from __future__ import annotations

import json
import random

import pytest

from paddock_runtime.lifecycle.remember import parsed
from paddock_runtime.predict.predictor import Predictor
from paddock_runtime.predict.types import Habits

DAY, HOUR = 86_400.0, 3_600.0
MONDAY = 20_000 * DAY + 9 * HOUR  # nine o'clock, at the beginning of a half-hour


def names(predictor: Predictor, now: float) -> list[str]:
    return [guess.model for guess in predictor.guesses(now)]


def test_what_a_tenant_asks_after_another_is_expected_from_the_third_time_on() -> None:
    predictor, now = Predictor(), MONDAY
    for times in range(2):
        assert not predictor.asked("n/a", "t", now)
        assert names(predictor, now) == [], f"a guess after {times} times"
        predictor.asked("n/b", "t", now + 60)
        now += 2 * HOUR
    assert predictor.asked("n/a", "t", now)
    assert names(predictor, now) == ["n/b"]
    (guess,) = predictor.guesses(now)
    assert guess.certainty == pytest.approx(2 / 3)
    assert not predictor.asked("n/a", "t", now + 300), "the same guess is no new one"
    assert predictor.guesses(now + 301)[0].made == guess.made
    assert names(predictor, now + 300 + 901) == [], "it did not come"
    predictor.asked("n/b", "t", now + 400)
    assert names(predictor, now + 401) == [], "it is there"


def test_what_often_does_not_follow_is_not_expected() -> None:
    predictor, now = Predictor(), MONDAY
    for following in ("n/b", None, "n/b", None, "n/c", None, "n/a"):
        predictor.asked("n/a", "t", now)
        if following is not None:
            predictor.asked(following, "t", now + 60)
        now += 2 * HOUR
    predictor.asked("n/a", "t", now)
    assert names(predictor, now) == []


def test_tenants_that_take_turns_make_no_habit() -> None:
    predictor = Predictor()
    for step in range(20):
        predictor.asked("n/a" if step % 2 else "n/b", "x" if step % 2 else "y", MONDAY + step)
    assert names(predictor, MONDAY + 20) == []


def test_a_model_of_every_morning_is_expected_shortly_before() -> None:
    predictor = Predictor()
    for day in range(3):
        assert names(predictor, MONDAY + day * DAY - 200) == (["n/a"] if day > 1 else [])
        predictor.asked("n/a", "t", MONDAY + day * DAY + 600)
    fourth = MONDAY + 3 * DAY
    assert names(predictor, fourth - 301) == []
    assert names(predictor, fourth - 300) == ["n/a"]
    assert names(predictor, fourth + 12 * HOUR) == []
    assert names(predictor, fourth) == ["n/a"]
    predictor.asked("n/a", "t", fourth + 60)
    assert names(predictor, fourth + 61) == []


def test_a_model_of_every_monday_is_expected_on_mondays_only() -> None:
    predictor = Predictor()
    for week in range(3):
        predictor.asked("n/a", "t", MONDAY + week * 7 * DAY)
    assert names(predictor, MONDAY + 21 * DAY) == ["n/a"]
    assert names(predictor, MONDAY + 22 * DAY) == []


def test_a_habit_that_ended_is_forgotten() -> None:
    predictor = Predictor()
    for day in range(10):
        predictor.asked("n/a", "t", MONDAY + day * DAY)
    assert names(predictor, MONDAY + 10 * DAY) == ["n/a"]
    assert names(predictor, MONDAY + 17 * DAY) == [], "not for a week"
    assert names(predictor, MONDAY + 60 * DAY) == []


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    predictor = Predictor()
    for day in (5, 4, 3, 6, 0):
        predictor.asked("n/a", "t", MONDAY + day * DAY)
        predictor.guesses(MONDAY + day * DAY)
    for day in (7, 8, 9):
        predictor.asked("n/a", "t", MONDAY + day * DAY)
    assert names(predictor, MONDAY + 10 * DAY) == ["n/a"], "it goes on to learn"


def busy(predictor: Predictor, *, models: int, requests: int) -> float:
    dice, now = random.Random(1), MONDAY
    for _ in range(requests):
        now += dice.uniform(1, 400)
        predictor.asked(f"n/m{dice.randrange(models)}", f"t{dice.randrange(50)}", now)
    return now


def test_what_was_learned_survives_a_restart() -> None:
    predictor = Predictor()
    for day in range(3):
        predictor.asked("n/a", "t", MONDAY + day * DAY)
        predictor.asked("n/b", "t", MONDAY + day * DAY + 60)
    busy(predictor, models=5, requests=500)
    restored = Predictor()
    restored.restore(parsed(json.dumps(predictor.snapshot())))
    assert restored.snapshot() == predictor.snapshot()
    assert names(restored, MONDAY + 3 * DAY) == names(predictor, MONDAY + 3 * DAY) != []


@pytest.mark.parametrize("damaged", [
    "", "[]", "nonsense", '{"format": 2}', '{"format": 1, "follows": 3, "rhythm": []}',
    '{"format": 1, "follows": {"a": 1, "b": {"c": "x", "d": -1}}, "rhythm": {"a": 1, "b": [1, {"x": 1}], "c": [0, 7]}}',
    '{"format": 1, "follows": {}, "rhythm": {"a": [1, {"99": [1, 1], "3": [5, 1e999]}]}}'])
def test_a_damaged_document_costs_only_what_it_knew(damaged: str) -> None:
    predictor = Predictor()
    predictor.restore(parsed(damaged))
    for day in range(3):
        predictor.asked("n/a", "t", MONDAY + day * DAY)
    assert names(predictor, MONDAY + 3 * DAY) == ["n/a"], "it goes on to learn"
    end = busy(predictor, models=3, requests=50)
    predictor.guesses(end)


def test_its_state_is_bounded() -> None:
    habits = Habits(models=20, tenants=10, successors=3)
    predictor = Predictor(habits)
    end = busy(predictor, models=500, requests=5000)
    kept = predictor.snapshot()
    assert len(kept["rhythm"]) <= 20
    assert len(kept["follows"]) <= 20
    assert all(len(counts) <= 4 and sum(counts.values()) <= 33 for counts in kept["follows"].values())
    predictor.keep({"n/m1", "n/m2"})
    text = json.dumps(predictor.snapshot())
    assert all(f"n/m{number}\"" not in text for number in range(3, 500))
    assert len(predictor.guesses(end)) <= habits.most
