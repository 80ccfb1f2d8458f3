"""The grammar rules of plain JSON, from which those of schemas are built."""

from __future__ import annotations

import re

_HEX4 = "[0-9a-fA-F]{4}"
PRIMITIVES: dict[str, str] = {
    "space": '" "?',
    "boolean": '("true" | "false") space',
    "null": '"null" space',
    "integral": '"0" | [1-9] [0-9]{0,15}',
    "integer": '"-"? integral space',
    "number": '"-"? integral ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})? space',
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" ' + _HEX4 + ")",
    "string": r'"\"" char* "\"" space',
    "value": "object | array | string | number | boolean | null",
    "object": '"{" space (string ":" space value ("," space string ":" space value)*)? "}" space',
    "array": '"[" space (value ("," space value)*)? "]" space',
    "uuid": rf'"\"" {_HEX4} {_HEX4} "-" {_HEX4} "-" {_HEX4} "-" {_HEX4} "-" {_HEX4} {_HEX4} {_HEX4} "\"" space',
    "day": '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [1-2] [0-9] | "3" [0-1])',
    "clock": '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{3})? '
             '("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])',
    "date": r'"\"" day "\"" space',
    "time": r'"\"" clock "\"" space',
    "date-time": r'"\"" day "T" clock "\"" space',
}
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
_TERMINAL = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^]]*\]')


def needs(name: str) -> list[str]:
    """The rules that a primitive's rule refers to."""
    return _WORD.findall(_TERMINAL.sub("", PRIMITIVES[name]))
