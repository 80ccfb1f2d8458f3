"""What a check says of an answer, and how far two rows of logits are apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from paddock_api.verify import Check
from paddock_runtime.lifecycle.checks import distance, judge


def check(**demand: Any) -> Check:
    return Check.model_validate({"prompt": "p", **demand})


def row(*logits: float) -> bytes:
    return np.array(logits, "<f4").tobytes()


@pytest.mark.parametrize(("demand", "answer", "words"), [
    ({"contains": "Paris"}, "It is Paris.", None),
    ({"contains": "Paris"}, "It is paris.\n", 'expected "Paris" in the answer, got "It is paris.\\n"'),
    ({"matches": r"\d{4}"}, "in 1989", None),
    ({"matches": r"^\d{4}"}, "in 1989", "matches"),
    ({"schema": {"type": "integer"}}, " 5\n", None),
    ({"schema": {"type": "integer"}}, " 5, 6", "no JSON"),
    ({"schema": {"type": "integer"}}, "[" * 100_000, "no JSON"),
    ({"schema": {"type": "integer"}}, '"5"', "answer is no integer"),
])
def test_an_answer_is_judged(demand: dict[str, Any], answer: str, words: str | None) -> None:
    found = judge(check(**demand), answer)
    assert found is None if words is None else words in (found or "")
    assert found is None or len(found) < 1000


def test_a_distance_is_between_nothing_and_ln_2() -> None:
    assert distance(row(1, 2, 3), row(1, 2, 3)) == 0
    assert distance(row(1, 2, 3), row(11, 12, 13)) == pytest.approx(0, abs=1e-12), "a constant changes no softmax"
    assert distance(row(0, 200), row(200, 0)) == pytest.approx(math.log(2))
    near, far = distance(row(0, 1), row(0, 1.1)), distance(row(0, 1), row(0, 3))
    assert 0 < near < far < math.log(2)
    assert distance(row(0, 3), row(0, 1)) == pytest.approx(far)
    half, whole = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    middle = (half + whole) / 2
    expected = sum(0.5 * float((p * np.log(p / middle)).sum()) for p in (half, whole))
    assert distance(row(*np.log(half)), row(*np.log(whole))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("other", "words"), [(row(1, 2), "vocabularies"), (row(1, 2, math.nan), "not all numbers"),
                                              (row(1, 2, math.inf), "not all numbers"), (b"", "not all numbers")])
def test_what_can_not_be_compared_is_said(other: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        distance(row(1, 2, 3), other)
