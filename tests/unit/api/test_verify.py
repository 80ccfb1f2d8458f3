"""`spec.verify`: what may be asked for, and the pure matchers behind it."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.json_check import check_schema, problem
from paddock_api.model import ModelSpec
from paddock_api.patterns import Pattern
from paddock_api.revision import Resolution, revision_of
from paddock_api.verify import Demand

FILE = {"source": {"file": {"path": "m.gguf"}}}


def spec(*checks: dict[str, Any]) -> ModelSpec:
    return ModelSpec.model_validate({**FILE, "verify": list(checks)})


def test_a_check_has_one_prompt_and_one_demand() -> None:
    checks = spec({"prompt": "a", "contains": "b"}, {"prompt": "a", "matches": "b+"},
                  {"messages": [{"role": "user", "content": "a"}], "schema": {"type": "object"}},
                  {"prompt": "a", "maxDistance": 0.03}).verify
    assert [check.demand for check in checks] == [Demand.CONTAINS, Demand.MATCHES, Demand.SCHEMA, Demand.DISTANCE]
    assert [check.max_tokens for check in checks] == [64] * 4


@pytest.mark.parametrize(("check", "words"), [
    ({"prompt": "a"}, "exactly one of contains"),
    ({"prompt": "a", "contains": "b", "maxDistance": 0.1}, "exactly one of contains"),
    ({"contains": "b"}, "exactly one of prompt"),
    ({"prompt": "a", "messages": [{"role": "user", "content": "a"}], "contains": "b"}, "exactly one of prompt"),
    ({"prompt": "a", "matches": "(?=a)"}, "not supported"),
    ({"prompt": "a", "matches": "a{500}{9}"}, "repetition"),
    ({"prompt": "a", "matches": "(a{99}){99}"}, "1000 states"),
    ({"prompt": "a", "schema": {"not": {}}}, "'not' is not supported"),
    ({"prompt": "a", "schema": {"properties": {"x": {"type": "text"}}}}, "schema.properties.x.type"),
    ({"prompt": "a", "schema": {"description": "x" * 20_000}}, "16384 bytes"),
    ({"prompt": "a", "maxDistance": 0}, "greater than 0"),
    ({"prompt": "a", "maxDistance": 0.7}, "less than or equal"),
    ({"prompt": "a", "contains": "b", "maxTokens": 257}, "256"),
])
def test_what_is_wrong_with_a_check_is_said(check: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        spec(check)


def test_there_are_at_most_16() -> None:
    check = {"prompt": "a", "contains": "b"}
    assert len(spec(*[check] * 16).verify) == 16
    with pytest.raises(ValueError, match="16"):
        spec(*[check] * 17)


def test_checks_make_another_revision_that_needs_no_reload() -> None:
    resolved = Resolution(sha256="c" * 64)
    plain, checked = (revision_of(each, resolved) for each in (
        ModelSpec.model_validate(FILE), spec({"prompt": "a", "schema": {"type": "string"}})))
    assert plain.id != checked.id
    assert plain.load_key == checked.load_key
    assert ModelSpec.model_validate(checked.spec.model_dump(mode="json")) == checked.spec


_atoms = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\w", r"\s", r"\.", "é", "^", "$"])
_patterns = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join), st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}")),
    max_leaves=6)


@given(_patterns, st.text(alphabet="abc1 .\né", max_size=8))
def test_a_pattern_finds_what_pythons_finds(pattern: str, text: str) -> None:
    """But for `$`, which is the end of the text alone here."""
    assert Pattern(pattern).found_in(text) == bool(re.search(pattern.replace("$", r"\Z"), text))


def test_no_pattern_takes_long() -> None:
    began = time.monotonic()
    assert not Pattern("(x+x+)+y").found_in("x" * 2000)
    assert not Pattern("(a|a)*(b|b)*(.*)*z").found_in("ab" * 1000)
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("pattern", [
    "(", ")", "[a", "*a", "a**", "(?P<n>a)", r"\1", r"\b", "a{3,1}", "(" * 40 + ")" * 40])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="the pattern"):
        Pattern(pattern)


def test_flags_and_ends() -> None:
    assert Pattern("(?i)^paris$").found_in("PARIS")
    assert not Pattern("^b").found_in("ab")
    assert not Pattern("a.b").found_in("a\nb")
    assert Pattern("(?s)a.b").found_in("a\nb")


SCHEMA = {
    "type": "object", "required": ["name"], "additionalProperties": False,
    "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]+$"},
                   "size": {"type": ["integer", "null"], "minimum": 1, "exclusiveMaximum": 10},
                   "tags": {"type": "array", "maxItems": 2, "items": {"enum": ["x", 1]}},
                   "kind": {"oneOf": [{"const": True}, {"type": "number"}]}},
}


@pytest.mark.parametrize(("value", "words"), [
    ({"name": "ab"}, None), ({"name": "ab", "size": 1.0, "tags": ["x", 1], "kind": True}, None),
    ({"name": "ab", "size": None, "kind": 2}, None),
    ([], "answer is no object"), ({}, "lacks 'name'"), ({"name": "AB"}, "answer.name breaks pattern"),
    ({"name": ""}, "minLength"), ({"name": "abcdef"}, "maxLength"), ({"name": "a", "size": 1.5}, "no integer or null"),
    ({"name": "a", "size": True}, "no integer or null"), ({"name": "a", "size": 0}, "minimum 1"),
    ({"name": "a", "size": 10}, "exclusiveMaximum"), ({"name": "a", "tags": ["x"] * 3}, "maxItems"),
    ({"name": "a", "tags": [True]}, "answer.tags[0] is none"), ({"name": "a", "other": 1}, "answer.other must not"),
    ({"name": "a", "kind": "x"}, "oneOf"),
])
def test_a_value_is_held_against_a_schema(value: Any, words: str | None) -> None:
    check_schema(SCHEMA)
    found = problem(value, SCHEMA)
    assert found is None if words is None else words in (found or "")
