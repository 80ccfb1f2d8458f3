"""How the end-to-end tests read what they see: a test that reads wrongly can't fail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.agent import fault
from tests.e2e.release import sum_of
from tests.e2e.team import Description

METRICS = """\
# HELP writes_total Writes.
writes_total{kind="models",verb="patch"} 4.0
writes_total{kind="leases",verb="update"} 10.0
writes_total_more{kind="models"} 100.0
leader 1.0
"""
DESCRIBED = """\
Name:         tiny
Status:
  Conditions:
    Message:  the next request   loads it
Events:
  Type     Reason    Age                From              Message
  ----     ------    ----               ----              -------
  Normal   Resolved  2m (x2 over 3m)    paddock-operator  the next request loads it
  Warning  Degraded  1s                 paddock-operator  it is bad
"""


@pytest.mark.parametrize(("answer", "told"), [
    ({"status": 200, "text": "{}", "lines": []}, ""),
    ({"status": 503, "text": "busy", "lines": []}, "503 busy"),
    ({"error": "ReadError: gone", "lines": []}, "ReadError: gone"),
    ({"status": 200, "lines": [(0.1, "data: {}"), (0.2, ""), (0.2, "data: [DONE]"), (0.2, "")]}, ""),
    ({"status": 200, "lines": [(0.1, 'data: {"error": {}}')]}, 'the stream ended with data: {"error": {}}'),
    ({"status": 200, "error": "ReadError: cut", "lines": [(0.1, "data: {}")]}, "ReadError: cut"),
])
def test_a_bad_answer_is_told_from_a_good_one(answer: dict[str, Any], told: str) -> None:
    assert fault(answer) == told


def test_series_are_summed_by_their_whole_name_and_labels() -> None:
    assert sum_of(METRICS, "writes_total", {}) == 14
    assert sum_of(METRICS, "writes_total", {"kind": "leases"}) == 10
    assert sum_of(METRICS, "leader", {}) == 1
    assert sum_of(METRICS, "unknown", {}) == 0


def test_a_description_is_read_by_its_parts() -> None:
    found = Description(DESCRIBED)
    assert found.reasons == {"Resolved", "Degraded"}
    assert found.says("the next request loads it")
    assert not found.says("it is bad"), "the conditions do not say so"
    assert Description("Name: tiny\nEvents:  <none>\n").reasons == set()
