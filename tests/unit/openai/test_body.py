"""Inputs 4: what a body may not be, and that it is refused fast and before it can hurt."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.errors import Code, PaddockError
from paddock_runtime.openai.body import MAX_CONTAINERS, MAX_DEPTH, MAX_VALUES, fingerprint_bytes, parse_object


@pytest.mark.parametrize(("body", "word"), [
    (b"", "not JSON"),
    (b"nope", "not JSON"),
    (b'{"a": 1', "not JSON"),
    (b'{"a": 1} x', "not JSON"),
    (b"[1]", "object"),
    (b'"text"', "object"),
    (b'{"temperature": NaN}', "NaN"),
    (b'{"temperature": Infinity}', "Infinity"),
    (b'{"temperature": -Infinity}', "-Infinity"),
    (b'{"a": "\xff"}', "UTF-8"),
    (b'{"a": "\\ud800"}', "surrogate"),
    (b'{"a": ["\\udc00x"]}', "surrogate"),
    (b'{"\\ud800": 1}', "surrogate"),
    (b'{"a": ' + b"9" * 5000 + b"}", "number"),
    (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "deeper"),
    (b"[" * 4_000_000, "more than"),
    (b'{"a":' * 100_000, "deeper"),
    (b'{"a": [' + b"{}," * (MAX_CONTAINERS + 1) + b"{}]}", "more than"),
    (b'{"a": [' + b"1," * (MAX_VALUES + 1) + b"1]}", "more than"),
])
def test_bad_bodies_are_refused_with_the_reason(body: bytes, word: str) -> None:
    with pytest.raises(PaddockError, match=word) as caught:
        parse_object(body)
    assert caught.value.code is Code.INVALID_REQUEST


def test_a_key_given_twice_is_named() -> None:
    with pytest.raises(PaddockError, match="twice") as caught:
        parse_object(b'{"model": "a", "options": {}, "model": "b"}')
    assert caught.value.param == "model"


def test_one_of_very_many_keys_given_twice_is_named_at_once() -> None:
    """In one pass over the keys: a comparison of each with each would be some 10^10 steps."""
    body = b"{" + b",".join(b'"k%d":1' % number for number in range(120_000)) + b',"k119999":1}'
    started = time.monotonic()
    with pytest.raises(PaddockError, match="twice") as caught:
        parse_object(body)
    assert caught.value.param == "k119999"
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("end", [b"", b"\\", b'\\"'], ids=["open", "a lone backslash", "an escaped quote"])
def test_a_string_without_an_end_is_read_once(end: bytes) -> None:
    """Each of its escaped quotes could be taken for a beginning: some 10^11 steps in a body of 1 MiB."""
    started = time.monotonic()
    with pytest.raises(PaddockError, match="not JSON"):
        parse_object(b'{"' + b'\\"' * 500_000 + end)
    assert time.monotonic() - started < 10


def test_brackets_inside_strings_do_not_count() -> None:
    prompt = "[{" * 200_000 + '\\"]]' + "," * 1_100_000
    assert parse_object(json.dumps({"prompt": prompt}).encode()) == {"prompt": prompt}


def test_surrogate_pairs_are_characters() -> None:
    assert parse_object(b'{"a": "\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    one, two = parse_object(b'{"a": 1, "b": {"c": 2, "d": 3}}'), parse_object(b'{"b": {"d": 3, "c": 2}, "a": 1}')
    assert fingerprint_bytes(one) == fingerprint_bytes(two)


texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(st.none() | st.booleans() | st.integers(-10**9, 10**9) | texts,
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
                      max_leaves=8)


@given(st.dictionaries(texts, values, max_size=4), st.booleans())
def test_any_json_object_survives(value: dict[str, object], ascii_only: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_a_400(body: bytes) -> None:
    outcome: object
    try:
        outcome = type(parse_object(body))
    except PaddockError as error:
        outcome = error.status
    assert outcome in (dict, 400)
