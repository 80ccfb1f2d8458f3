"""What a converted schema lets a model write, as llama.cpp sees it with Gemma's vocabulary; and the legal extremes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paddock_runtime.engine.llama.gbnf import MAX_DEPTH, MAX_RULES
from paddock_runtime.engine.llama.grammar import check_gbnf, schema_to_gbnf
from tests.native_grammar import matches, verdicts

_PERSON = {"type": "object", "required": ["name"], "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 8}, "age": {"type": "integer"},
    "é \"q\" \\": {"enum": ["a\"b", "c\\d", "é", 3, None, {"x": [1]}]}}}
_OPTIONAL = {"properties": {"a": {"type": "null"}, "b": {"type": "boolean"}, "c": {"type": "number"}},
             "additionalProperties": False}
_OPEN = {"properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "integer"}}
_LIST = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3}
_TUPLE = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}
_TREE = {"$ref": "#/$defs/node", "$defs": {"node": {"properties": {
    "v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["v"]}}}
_MERGED = {"allOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"$ref": "#/$defs/b"}],
           "$defs": {"b": {"properties": {"b": {"type": "null"}}, "required": ["b"]}}}

CASES: dict[str, tuple[Any, list[str], list[str]]] = {
    "object": (_PERSON, ['{"name":"Ann"}', '{ "name": "Zoë 世界", "age": -12}', '{"name":"A","é \\"q\\" \\\\":"a\\"b"}',
                         '{"name":"A","é \\"q\\" \\\\":"c\\\\d"}', '{"name":"A","é \\"q\\" \\\\":{"x": [1]}}'],
               ["{}", '{"name":""}', '{"name":"far too long"}', '{"name":"A","age":"x"}', '{"name":"A","other":1}',
                '{"name":"A"', '{"name":"A"} x', "null"]),
    "optional": (_OPTIONAL, ["{}", '{"a":null}', '{"b":true}', '{"a":null,"c":1.5e-3}', '{"a":null, "b":false, "c":0}'],
                 ['{"b":true,"a":null}', '{,"a":null}', '{"a":null,}', '{"d":1}']),
    "open": (_OPEN, ["{}", '{"a":null}', '{"x":1}', '{"a":null,"x":1,"y":2}', '{"x":1,"y":2}'],
             ['{"x":"y"}', '{"a":null,}']),
    "list": (_LIST, ["[1,2]", "[1, 2, 3]"], ["[]", "[1]", "[1,2,3,4]", '["1","2"]']),
    "tuple": (_TUPLE, ['["a",1]'], ["[]", '["a"]', '["a",1,2]', '[1,"a"]']),
    "tree": (_TREE, ['{"v":1}', '{"v":1,"next":{"v":2,"next":null}}'], ['{"v":1,"next":{}}', '{"next":null}']),
    "merged": (_MERGED, ['{"a":null,"b":null}'], ['{"a":null}', "{}"]),
    "nullable": ({"type": ["string", "null"], "maxLength": 2}, ['"ab"', "null", '""'], ['"abc"', "1"]),
    "pattern": ({"type": "string", "pattern": r"^(\d{3}-)?[A-Z\"\\]+(x|yz)?$"},
                ['"123-AB"', '"Zyz"', r'"\"A"', r'"\\"'], ['"12-A"', '""', '"a"', '"A" "']),
    "unanchored pattern": ({"type": "string", "pattern": "b+"}, ['"abba"', '"b"', '"é b\\n"'], ['"aa"', '""']),
    "date": ({"type": "string", "format": "date-time"}, ['"2026-11-22T19:00:00Z"'], ['"2026-13-01T00:00:00Z"', '"x"']),
    "uuid": ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123e4567"']),
    "large enum": ({"enum": [f"v{n}" for n in range(200)]}, ['"v0"', '"v199"', '"v20"'], ['"v200"', '"v"']),
    "anything": (True, ['{"a":[1,2,{"b":null}]}', "[]", '"x\\u00e9\\n"', "-0.5", "true"], ["{a:1}", "01", '"\n"']),
}


@pytest.mark.parametrize(("schema", "valid", "invalid"), CASES.values(), ids=list(CASES))
def test_a_schema_allows_what_is_valid_and_nothing_else(
    gemma: Path, schema: Any, valid: list[str], invalid: list[str]
) -> None:
    verdict = matches(gemma, schema_to_gbnf(json.dumps(schema)), [*valid, *invalid])
    assert [text for text, taken in zip(valid, verdict[: len(valid)], strict=True) if not taken] == []
    assert [text for text, taken in zip(invalid, verdict[len(valid) :], strict=True) if taken] == []


def test_the_extremes_parse_and_run_with_a_real_vocabulary(gemma: Path) -> None:
    deepest = f'root ::= {"(" * MAX_DEPTH}"a"{")" * MAX_DEPTH} [a-z]*'
    chain = "".join(f"r{n} ::= r{n + 1}\n" for n in range(1, MAX_RULES - 1))
    longest = f'root ::= r1\n{chain}r{MAX_RULES - 1} ::= [a-z]+\n'
    tokens = 'root ::= <[106]>? !<[107]> <end_of_turn>'
    for text in (deepest, longest, tokens):
        check_gbnf(text)
    assert verdicts([deepest, longest, tokens, "root ::= <no such token>"], model=gemma) == [True, True, True, False]
