"""What a server's answers mean, and how often it is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store.answers import Asked, Body, Passing, judge, retry_after, validator
from paddock_runtime.store.retries import Retries, RetryPolicy

FRESH = Asked("http://h/f", 0, None)
RESUMED = Asked("http://h/f", 100, 1000)
NOW = 1_800_000_000.0


def verdict(asked: Asked, status: int, size: int | None = None, /, **headers: str) -> Body | Passing | Code:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        return judge(asked, status, named, size=size, now=NOW)
    except Passing as fault:
        return fault
    except PaddockError as error:
        return error.code


def test_whole_files() -> None:
    assert verdict(FRESH, 200, content_length="1000") == Body(0, 1000)
    assert verdict(FRESH, 200) == Body(0, None)
    assert verdict(FRESH, 200, content_length="1000", transfer_encoding="chunked") == Body(0, None)
    assert verdict(RESUMED, 200, content_length="1000") == Body(0, 1000)
    assert verdict(RESUMED, 200, content_length="999") == Body(0, 999)  # another file: from the start


def test_ranges() -> None:
    assert verdict(RESUMED, 206, content_range="bytes 100-999/1000") == Body(100, 1000)
    assert verdict(RESUMED, 206, content_range="bytes 100-999/*") == Body(100, None)
    assert verdict(Asked("x", 100, None), 206, content_range="bytes 100-999/1000") == Body(100, 1000)


@pytest.mark.parametrize("header", ["bytes 0-999/1000", "bytes 101-999/1000", "bytes 100-99/1000", "bytes */1000",
                                    "items 100-999/1000", "", "bytes 100-/1000", "bytes \u0661\u0660\u0660-999/1000"])
def test_ranges_that_were_not_asked_for(header: str) -> None:
    fault = verdict(RESUMED, 206, content_range=header)
    assert isinstance(fault, Passing)
    assert (fault.restart, fault.ranges) == (True, False)


def test_a_file_that_changed_its_size_is_started_anew() -> None:
    fault = verdict(RESUMED, 206, content_range="bytes 100-1999/2000")
    assert isinstance(fault, Passing)
    assert (fault.restart, fault.ranges) == (True, True)


def test_past_the_end() -> None:
    assert verdict(Asked("x", 1000, None), 416, content_range="bytes */1000") == Body(1000, 1000)
    fault = verdict(Asked("x", 1001, None), 416, content_range="bytes */1000")
    assert isinstance(fault, Passing)
    assert fault.restart
    assert verdict(FRESH, 416) == Code.SOURCE_UNAVAILABLE


def test_sizes() -> None:
    assert verdict(FRESH, 200, 1000, content_length="1000") == Body(0, 1000)
    assert verdict(FRESH, 200, 1000, content_length="1001") == Code.SIZE_MISMATCH
    assert verdict(RESUMED, 206, 999, content_range="bytes 100-999/1000") == Code.SIZE_MISMATCH
    assert verdict(FRESH, 200, content_length=str(3 << 40)) == Code.SOURCE_REFUSED


@pytest.mark.parametrize(("headers", "seconds"), [
    ({"retry-after": "7"}, 7.0), ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
    ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0), ({"retry-after": "soon"}, None), ({}, None),
    ({"retry-after": "-5"}, None), ({"ratelimit": '"api";r=0;t=42', "retry-after": "7"}, 42.0),
    ({"ratelimit": '"api";r=3;t=42', "retry-after": "7"}, 7.0), ({"retry-after": "9" * 400}, None)])
def test_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@given(st.text(max_size=40))
def test_any_header_is_survived(text: str) -> None:
    headers = {"retry-after": text, "ratelimit": text, "etag": text, "last-modified": text}
    assert (retry_after(headers, NOW) or 0.0) >= 0.0
    assert "\n" not in (validator(headers) or "")
    assert verdict(RESUMED, 206, content_range=text) is not None


def test_only_strong_validators_may_guard_a_range() -> None:
    date = "Tue, 15 Nov 1994 12:45:26 GMT"
    assert validator({"etag": '"abc"', "last-modified": date}) == '"abc"'
    assert validator({"etag": 'W/"abc"', "last-modified": date}) == date
    assert validator({"etag": '"a\r\nX: y"'}) is None
    assert validator({}) is None


def pauses(policy: RetryPolicy, faults: list[tuple[Passing, bool]], dice: float = 0.0) -> list[float | None]:
    retries = Retries(policy, dice=lambda: dice)
    return [retries.pause(fault, gained=gained) for fault, gained in faults]


def test_pauses_double_up_to_a_limit_and_end() -> None:
    policy = RetryPolicy(fruitless=6, first_pause=1, longest_pause=8)
    assert pauses(policy, [(Passing("x"), False)] * 6, dice=1.0) == [2.0, 4.0, 8.0, 8.0, 8.0, None]
    assert pauses(policy, [(Passing("x"), False)] * 2, dice=0.0) == [1.0, 2.0]


def test_progress_gives_new_patience_within_the_total() -> None:
    policy = RetryPolicy(fruitless=2, total=5)
    assert None not in pauses(policy, [(Passing("x"), True)] * 4)
    assert pauses(policy, [(Passing("x"), True)] * 5)[-1] is None


def test_what_the_server_asks_for_comes_on_top_unless_it_is_too_long() -> None:
    policy = RetryPolicy(first_pause=1, longest_pause=1, longest_retry_after=60)
    assert pauses(policy, [(Passing("x", retry_after=60), False)], dice=1.0) == [61.0]
    assert pauses(policy, [(Passing("x", retry_after=61), False)]) == [None]
