"""Reading YAML and JSON from anybody: what is refused, and that nothing else than Unreadable ever comes out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock_runtime.config.documents import MAX_FILE_BYTES, Unreadable, parse


def refused(text: str | bytes, *, is_json: bool = False) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), is_json=is_json)
    return caught.value


def test_documents_in_order_with_empty_ones_kept_for_counting() -> None:
    assert parse(b"a: 1\n---\n---\n# nothing\n---\nb: [x, 2.5, true, null]\n", is_json=False) == [
        {"a": 1}, None, None, {"b": ["x", 2.5, True, None]}]


def test_json_and_a_byte_order_mark() -> None:
    assert parse('\ufeff{"a": [1]}'.encode(), is_json=True) == [{"a": [1]}]
    assert parse("\ufeffa: 1".encode(), is_json=False) == [{"a": 1}]


def test_dates_stay_text_as_in_kubernetes() -> None:
    assert parse(b"a: 2026-11-22\nb: 2026-11-22T10:00:00Z", is_json=False) == [
        {"a": "2026-11-22", "b": "2026-11-22T10:00:00Z"}]


def test_honest_aliases_and_merges_work() -> None:
    assert parse(b"x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x", is_json=False) == [
        {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2}}]


def test_syntax_errors_name_document_and_line() -> None:
    error = refused("a: 1\n---\nb: 2\n---\nc: [1,\nd: }\n")
    assert "line 6" in error.message
    error = refused('{"a": 1,}', is_json=True)
    assert "line 1" in error.message
    assert error.document == 1


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", "x:\n  a: 1\n  a: 1"])
def test_a_key_given_twice_is_refused(text: str) -> None:
    error = refused(text)
    assert "'a' is there twice" in error.message
    assert "line 3" in error.message


def test_a_json_key_given_twice_is_refused() -> None:
    assert "'a' is there twice" in refused('{"b": {"a": 1, "a": 2}}', is_json=True).message


@pytest.mark.parametrize("text", ["1: a", "{a: b}: c", "null: x", "[1]: 2", "true: 1"])
def test_keys_must_be_text(text: str) -> None:
    assert refused(text).document == 1


def bomb() -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    return "\n".join(lines)


def test_an_alias_bomb_is_refused() -> None:
    assert "aliases" in refused(bomb()).message


def test_a_bomb_of_long_texts_is_refused() -> None:
    text = "a: &a " + "x" * 900_000 + "\nb: [" + ", ".join(["*a"] * 1000) + "]"
    assert "aliases" in refused(text).message


def test_bombs_in_many_documents_add_up() -> None:
    one = "a: &a " + "x" * 10_000 + "\nb: [" + ", ".join(["*a"] * 100) + "]"
    assert refused("\n---\n".join([one] * 10)).document == 5


def test_a_chain_of_aliases_does_not_exhaust_the_stack() -> None:
    text = "\n".join(["- &a0 [x]", *(f"- &a{n} [*a{n - 1}]" for n in range(1, 1000))])
    assert "nested" in refused(text).message


def test_an_alias_that_holds_itself_is_refused() -> None:
    assert "alias" in refused("a: &a [1, *a]").message
    assert "alias" in refused("&a {b: {c: *a}}").message


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 50_000, "- " * 300_000, "a: " + "[" * 101 + "]" * 101])
def test_deep_nesting_is_refused(text: str) -> None:
    assert refused(text).message


def test_deep_json_is_refused() -> None:
    assert "nested" in refused("[" * 200_000, is_json=True).message


def test_size_encoding_and_emptiness() -> None:
    assert "larger" in refused(b"a: " + b"x" * MAX_FILE_BYTES).message
    assert "UTF-8" in refused(b"a: \xff\xfe").message
    assert "empty" in refused(" \n\n").message
    assert parse(b"# only a remark\n", is_json=False) == []


@pytest.mark.parametrize(
    "text", ["a: !!int x", "a: !!bool maybe", "a: !!python/object/apply:os.system [id]", "a: !!timestamp never",
             "!!omap {a: 1}", "a: " + "9" * 5000, "a: !!float ''", "a: !!int ''", "a: \x01", "a: *b"])
def test_values_that_do_not_fit_their_tags_are_refused(text: str) -> None:
    assert refused(text).message


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "9" * 5000, ""])
def test_json_that_is_none(text: str) -> None:
    assert refused(text, is_json=True).message


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=" \n-:[]{}&*!|>'\"#%@,ab1<?\t\\\x00é", max_size=60), st.booleans())
def test_nothing_but_unreadable_comes_out(text: str, is_json: bool) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(parse(text.encode(), is_json=is_json), list)
