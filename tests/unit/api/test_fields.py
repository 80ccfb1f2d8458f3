from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.fields import parse_duration


@pytest.mark.parametrize(("text", "seconds"), [
    ("0s", 0), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("2h0m5s", 7205), ("90m", 5400), ("999999h", 999999 * 3600)])
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5", "5 m", "-5s", "1.5h", "5s1m", "5d", "1h\n", "٣s", "1234567s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30s, 5m"):
        parse_duration(text)


@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999))
def test_parts_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds
