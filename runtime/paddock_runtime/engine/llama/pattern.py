"""A JSON schema's `pattern` as GBNF: what a JSON string may hold between its quotes so that the pattern matches."""

from __future__ import annotations

import json
import re

from paddock_runtime.engine.llama.gbnf import MAX_REPETITIONS, GrammarRefused

MAX_PATTERN = 4_096  # characters
MAX_PATTERN_DEPTH = 50  # nested groups

Ranges = list[tuple[int, int]]  # of code points, inclusive

_LAST = 0x10FFFF
_CONTROLS = {"b": 8, "t": 9, "n": 10, "f": 12, "r": 13}
_SETS: dict[str, Ranges] = {
    "d": [(0x30, 0x39)],
    "w": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "s": [(9, 10), (12, 13), (0x20, 0x20), (0xA0, 0xA0)],
}
_ESCAPES = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0}
_QUANTIFIER = re.compile(r"([*+?]|\{(\d{1,9})(,(\d{1,9})?)?\})\??")
_HEX = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})")
ANYTHING: Ranges = [(0, _LAST)]


def literal(text: str) -> str:
    """A GBNF string that matches `text`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def complement(ranges: Ranges) -> Ranges:
    found: Ranges = []
    following = 0
    for low, high in sorted(ranges):
        if low > following:
            found.append((following, low - 1))
        following = max(following, high + 1)
    if following <= _LAST:
        found.append((following, _LAST))
    return found


def json_class(ranges: Ranges) -> str:
    """One character of the set, as it is written inside a JSON string. Raises GrammarRefused if there is none."""
    def holds(code: int) -> bool:
        return any(low <= code <= high for low, high in ranges)

    outside = [*complement(ranges), (0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0xD800, 0xDFFF)]
    plain = "".join(_code(low) if low == high else f"{_code(low)}-{_code(high)}" for low, high in complement(outside))
    ways = [f"[{plain}]"] if plain else []
    ways += [literal(json.dumps(chr(code))[1:-1]) for code in (0x22, 0x5C, *_CONTROLS.values()) if holds(code)]
    if not ways:
        raise GrammarRefused("A character class of the schema's pattern matches nothing.")
    return ways[0] if len(ways) == 1 else f"({' | '.join(ways)})"


def _code(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\U{code:08X}"


def pattern_to_gbnf(pattern: str) -> str:
    """Raises GrammarRefused for what a grammar can't express (look-around, back-references, \\b, \\p)."""
    if len(pattern) > MAX_PATTERN:
        raise GrammarRefused(f"A pattern of the schema is longer than {MAX_PATTERN:,} characters.")
    return _Pattern(pattern).convert()


class _Pattern:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def convert(self) -> str:
        anything = f"{json_class(ANYTHING)}*"
        before = "" if self._text.startswith("^") else anything + " "
        self._at = 0 if before else 1
        body = self._alternatives(0)
        after = ""
        if self._peek() == "$" and self._at == len(self._text) - 1:
            self._at += 1
        else:
            after = " " + anything
        if self._at < len(self._text):
            raise self._refuse("unexpected character")
        return f"{before}({body}){after}"

    def _refuse(self, problem: str) -> GrammarRefused:
        near = self._text[self._at : self._at + 10]
        return GrammarRefused(f"The schema's pattern {self._text[:60]!r} can't be used, at {near!r}: {problem}.")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise self._refuse("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _alternatives(self, depth: int) -> str:
        found = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            found.append(self._sequence(depth))
        return " | ".join(found)

    def _sequence(self, depth: int) -> str:
        parts: list[str] = []
        while self._peek() and self._peek() not in "|)$":
            parts.append(self._atom(depth) + self._quantifier())
        return " ".join(parts) or '""'

    def _atom(self, depth: int) -> str:
        character = self._take()
        if character == "(":
            return self._group(depth)
        if character == "[":
            return json_class(self._class())
        if character == ".":
            return json_class(complement([(10, 10), (13, 13)]))
        if character in "*+?{^":
            self._at -= 1
            raise self._refuse("not supported here")
        if character != "\\":
            return json_class([(ord(character), ord(character))])
        return json_class(self._escape())

    def _group(self, depth: int) -> str:
        if depth == MAX_PATTERN_DEPTH:
            raise self._refuse(f"groups are nested deeper than {MAX_PATTERN_DEPTH}")
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise self._refuse("look-around and named groups are not supported")
        body = self._alternatives(depth + 1)
        if self._peek() != ")":
            raise self._refuse("expecting )")
        self._at += 1
        return f"({body})"

    def _quantifier(self) -> str:
        found = _QUANTIFIER.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        if found[1][0] != "{":
            return found[1]
        low, high = int(found[2]), int(found[4]) if found[4] else None
        if max(low, high or 0) > MAX_REPETITIONS or (high is not None and high < low):
            raise self._refuse(f"a quantifier must rise and may not exceed {MAX_REPETITIONS:,}")
        return f"{{{low}}}" if not found[3] else f"{{{low},{'' if high is None else high}}}"

    def _escape(self) -> Ranges:
        character = self._take()
        if character.lower() in _SETS:
            return _SETS[character] if character in _SETS else complement(_SETS[character.lower()])
        found = _HEX.match(self._text, self._at - 1)
        if found is not None:
            self._at = found.end()
            code = int(found[1] or found[2], 16)
        elif character in _ESCAPES:
            code = _ESCAPES[character]
        elif character.isalnum():
            raise self._refuse(f"the escape \\{character} is not supported")
        else:
            code = ord(character)
        return [(code, code)]

    def _class(self) -> Ranges:
        negated = self._peek() == "^"
        self._at += negated
        ranges: Ranges = []
        while (character := self._take()) != "]":
            start = self._escape() if character == "\\" else [(ord(character), ord(character))]
            following = self._text[self._at : self._at + 2]
            if following.startswith("-") and following != "-]" and len(start) == 1 and start[0][0] == start[0][1]:
                self._at += 1
                character = self._take()
                end = self._escape() if character == "\\" else [(ord(character), ord(character))]
                if len(end) != 1 or end[0][1] < start[0][0]:
                    raise self._refuse("the range of the class is not one")
                start = [(start[0][0], end[0][1])]
            ranges += start
        return complement(ranges) if negated else ranges
