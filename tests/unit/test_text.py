"""The text stream: whole characters, stops that span tokens, the same result for every way of cutting."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_runtime.engine.llama.text import TextStream


def reference(data: bytes, stops: list[str]) -> tuple[str, str | None]:
    """One shot: the stop that is complete first, then the longest."""
    text = data.decode("utf-8", "replace")
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


def stream(pieces: list[bytes], stops: list[str]) -> tuple[str, str | None]:
    text = TextStream(stops)
    sent = "".join(text.push(piece) for piece in pieces)
    return sent + text.finish(), text.stopped_by


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


few = st.text(alphabet="abé😀\n", max_size=30)
some_bytes = few.map(str.encode) | st.binary(max_size=30) | st.lists(
    st.sampled_from([b"a", b"b", b"\xc3", b"\xa9", b"\xf0\x9f", b"\x98\x80", b"\xff"]), max_size=30).map(b"".join)
some_stops = st.lists(st.text(alphabet="abé😀\n�", max_size=5), max_size=5)


@given(data=some_bytes, stops=some_stops, cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_any_cut_gives_the_one_shot_result(data: bytes, stops: list[str], cuts: list[int]) -> None:
    assert stream(cut(data, cuts), stops) == reference(data, stops)


@given(data=some_bytes, stops=some_stops)
def test_what_is_sent_is_never_taken_back_and_little_is_held(data: bytes, stops: list[str]) -> None:
    final, _ = reference(data, stops)
    longest = max((len(stop) for stop in stops), default=0)
    text = TextStream(stops)
    sent = ""
    for index in range(len(data)):
        sent += text.push(data[index : index + 1])
        assert final.startswith(sent)
        if text.stopped_by is None:
            whole = data[: index + 1].decode("utf-8", "ignore")
            assert len(sent) >= len(whole) - max(longest - 1, 0)


def test_without_stops_every_whole_character_is_sent_at_once() -> None:
    text = TextStream()
    assert [text.push(bytes([byte])) for byte in "a€".encode()] == ["a", "", "", "€"]
    assert text.finish() == ""


def test_a_cut_character_at_the_end_is_replaced() -> None:
    text = TextStream()
    assert text.push(b"ok\xf0\x9f") == "ok"
    assert text.finish() == "�"


def test_a_stop_that_spans_tokens_is_never_sent() -> None:
    text = TextStream(["\nUser:"])
    assert text.push(b"Hi.\nUs") == "Hi."
    assert text.push(b"er") == ""
    assert text.push(b": more") == ""
    assert text.stopped_by == "\nUser:"
    assert text.push(b"never") == ""
    assert text.finish() == ""


def test_a_stop_that_did_not_come_is_sent() -> None:
    text = TextStream(["\nUser:"])
    assert text.push(b"Hi.\nUs") == "Hi."
    assert text.push(b"ual") == "\nUsual"
    assert text.push(b"\nUser") == ""
    assert text.finish() == "\nUser"
    assert text.stopped_by is None


def test_a_false_start_keeps_the_part_that_may_still_begin_a_stop() -> None:
    text = TextStream(["aab"])
    assert text.push(b"aaaa") == "aa"
    assert text.push(b"b") == ""
    assert text.stopped_by == "aab"


@pytest.mark.parametrize(("stops", "sent", "stop"), [
    (["abcd", "bc"], "a", "bc"),
    (["c", "abc"], "", "abc"),
    (["ab", "abc"], "", "ab"),
    (["", "d"], "abc", "d"),
])
def test_the_stop_that_is_complete_first_wins_then_the_longest(stops: list[str], sent: str, stop: str) -> None:
    for pieces in ([b"abcd"], [b"a", b"b", b"c", b"d"], [b"ab", b"cd"]):
        assert stream(pieces, stops) == (sent, stop)


def test_many_long_stops_cost_no_more_than_their_text() -> None:
    stops = ["a" * 1000 + chr(0x100 + n) for n in range(100)]
    text = TextStream(stops)
    sent = [text.push(b"a") for _ in range(5000)]
    assert "".join(sent) == "a" * 4000
    assert text.push("ā".encode()) == ""
    assert text.stopped_by == stops[1]
