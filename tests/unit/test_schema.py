"""JSON schema to GBNF: bombs are refused soon, remote references never fetched, every result passes the check."""

from __future__ import annotations

import json
import re
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_runtime.engine.llama.gbnf import MAX_BYTES
from paddock_runtime.engine.llama.grammar import JSON_OBJECT_SCHEMA, GrammarRefused, check_gbnf, schema_to_gbnf
from tests.native_grammar import verdicts


def nested(levels: int, keyword: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {keyword: [schema]} if keyword.endswith("Of") else {"type": "array", keyword: schema}
    return schema


def doubling(keyword: str) -> dict[str, Any]:
    """Each definition names the next twice: 2 to the power of 40, unfolded."""
    def step(n: int) -> dict[str, Any]:
        parts = [{"$ref": f"#/$defs/d {n + 1}"}] * 2
        return {"properties": {"x": {keyword: parts}, "y": {keyword: parts}}}

    definitions = {f"d {n}": step(n) for n in range(40)}
    return {"$ref": "#/$defs/d 0", "$defs": {**definitions, "d 40": {"properties": {"z": {"type": "null"}}}}}


REFUSED: dict[str, tuple[Any, str]] = {
    "too long": ({"enum": ["x" * MAX_BYTES]}, "limit of"),
    "a deep document": (nested(120, "items"), "nested deeper"),
    "deep allOf": (nested(120, "allOf"), "nested deeper"),
    "more allOf than steps": ({"allOf": [{"$ref": "#/$defs/a"}] * 900,
                               "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}] * 900}, "b": {}}}, "unfold"),
    "doubling by allOf": (doubling("allOf"), "limit of"),
    "a circle of allOf": ({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}, "unfold"),
    "a reference to itself": ({"$ref": "#"}, "back to itself"),
    "a circle of references": ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
                                "$ref": "#/$defs/a"}, "grammar"),
    "a circle of branches": ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}},
                              "$ref": "#/$defs/a"}, "left-recursive"),
    "a remote reference": ({"$ref": "https://example.com/schema.json"}, "Nothing is fetched"),
    "a remote reference by http": ({"properties": {"a": {"$ref": "http://127.0.0.1/x#/a"}}}, "Nothing is fetched"),
    "a file reference": ({"$ref": "file:///etc/passwd"}, "Nothing is fetched"),
    "a reference by number": ({"$ref": 5}, "Nothing is fetched"),
    "a reference to nowhere": ({"$ref": "#/$defs/missing"}, "points nowhere"),
    "a huge enum": ({"enum": list(range(5000))}, "2,000 values"),
    "an empty enum": ({"enum": []}, "values"),
    "many properties": ({"properties": {f"property-{n}": {"type": "string"} for n in range(2000)}}, "bytes"),
    "a long maximum": ({"type": "string", "maxLength": 100_000}, "maxLength"),
    "multiplied maximums": ({"type": "array", "maxItems": 2000,
                             "items": {"type": "array", "maxItems": 2000, "items": {"type": "string"}}}, ""),
    "many long strings": ({"properties": {f"p{n}": {"type": "string", "maxLength": 2000} for n in range(20)}},
                          "20,000 rules"),
    "a negative minimum": ({"type": "string", "minLength": -1}, "minLength"),
    "a minimum of another type": ({"type": "string", "minLength": "x"}, "minLength"),
    "a maximum below the minimum": ({"type": "array", "minItems": 3, "maxItems": 1}, "maxItems"),
    "a pattern bomb": ({"type": "string", "pattern": "^" + "(" * 60 + "a" + ")" * 60 + "$"}, "nested deeper"),
    "a deeper pattern bomb": ({"type": "string", "pattern": "(" * 2000 + "a" + ")" * 2000}, "nested deeper"),
    "a pattern of repetitions": ({"type": "string", "pattern": "^(a{0,1000}){0,1000}$"}, "copies"),
    "a pattern repeated too often": ({"type": "string", "pattern": "^a{1,100000}$"}, "may not exceed"),
    "a long pattern": ({"type": "string", "pattern": "a" * 5000}, "longer than"),
    "a back-reference": ({"type": "string", "pattern": r"^(a)\1$"}, "escape"),
    "a look-ahead": ({"type": "string", "pattern": "^(?=a)b$"}, "look-around"),
    "an open group": ({"type": "string", "pattern": "^(a$"}, "can't be used"),
    "an open class": ({"type": "string", "pattern": "^[a"}, "too early"),
    "a class of nothing": ({"type": "string", "pattern": r"^[^\s\S]$"}, "matches nothing"),
    "a pattern that is none": ({"type": "string", "pattern": 5}, "wrong type"),
    "not": ({"not": {"type": "string"}}, "'not'"),
    "an unknown type": ({"type": "thing"}, "unknown"),
    "a type of another kind": ({"type": {}, "properties": 5}, "wrong type"),
    "a list": ([1], "must be an object"),
    "false": (False, "must be an object"),
    "a number": (7, "must be an object"),
    "a lone surrogate": ({"const": "\ud800"}, "surrogate"),
}


@pytest.mark.parametrize(("schema", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_bombs_and_nonsense_are_refused_soon_and_with_a_reason(schema: Any, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(GrammarRefused) as refused:
        schema_to_gbnf(json.dumps(schema))
    assert reason in refused.value.message
    assert len(refused.value.message) < 400
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("document", ["", "{", "[" * 100_000, '{"a":' * 10_000, "1" * 5000, "\0"])
def test_what_is_not_json_is_refused(document: str) -> None:
    with pytest.raises(GrammarRefused):
        schema_to_gbnf(document)


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def watched(*arguments: Any, **options: Any) -> None:
        opened.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", watched)
    for reference in ("https://example.com/a", "http://169.254.169.254/", "//example.com", "other.json", "#anchor"):
        with pytest.raises(GrammarRefused, match="Nothing is fetched"):
            schema_to_gbnf(json.dumps({"$ref": reference}))
    assert opened == []


def test_what_people_send_passes_and_llama_cpp_takes_it() -> None:
    schemas: list[Any] = [
        json.loads(JSON_OBJECT_SCHEMA), True, {}, {"description": "anything"}, {"title": "t", "default": 1},
        {"type": "object", "properties": {"root": {}, "space": {}, "value-1": {}, "é\"\\\n": {}}},
        {"properties": {f"p{n}": {"type": "string"} for n in range(200)}},
        {"properties": {f"p{n}": {"type": "string"} for n in range(200)}, "required": ["p7", "p9"]},
        {"type": "string", "maxLength": 1999}, {"type": "array", "maxItems": 500},
        {"enum": [f"country {n}" for n in range(1500)]}, doubling("anyOf"),
        {"type": "string", "pattern": "^((a{1000}){1000}){1000}$"},  # long, but three short rules
    ]
    grammars = [schema_to_gbnf(json.dumps(schema)) for schema in schemas]
    assert verdicts(grammars) == [True] * len(grammars)


def test_definitions_are_converted_once_each_and_may_be_recursive() -> None:
    tree = {"$ref": "#/$defs/my~1tree", "$defs": {"my/tree": {
        "type": "object", "required": ["value"], "additionalProperties": False,
        "properties": {"value": {"type": "integer"},
                       "children": {"type": "array", "items": {"$ref": "#/$defs/my~1tree"}}}}}}
    text = schema_to_gbnf(json.dumps(tree))
    assert text.count('"\\"children\\""') == 1


def test_text_of_the_schema_never_becomes_grammar() -> None:
    evil = 'x" | root ::= "y\\" \n root ::= "z'
    text = schema_to_gbnf(json.dumps({"properties": {evil: {"const": evil}, "b": {"enum": [evil, evil + "2"]}}}))
    names = [line.split(" ::= ")[0] for line in text.splitlines()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("root|space|(root|x|b)-[a-z0-9-]+", name) for name in names), names
    assert re.search(r'[^\\]" \| root', text) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=10)
keywords = st.sampled_from([
    "type", "properties", "items", "enum", "const", "anyOf", "allOf", "$ref", "pattern", "required", "minLength",
    "maxItems", "format", "additionalProperties", "prefixItems"])


@given(st.dictionaries(keywords, json_values | st.sampled_from(["object", "string", "#", "^a+$", "date"]), max_size=5))
def test_any_document_is_converted_or_refused(schema: dict[str, Any]) -> None:
    try:
        text = schema_to_gbnf(json.dumps(schema))
    except GrammarRefused:
        return
    check_gbnf(text)
    assert text.startswith("root ::= ")
