"""Regular expressions that take linear time, whatever the text: for patterns and texts that nobody here chose.

Literals, `.`, classes, escapes, groups, `|`, `* + ? {m,n}`, `^` and `$` (the ends of the whole text), and `(?i)` or
`(?s)` at the start. All states of the automaton are followed at once, so nothing is ever tried twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_STATES = 1000
_MAX_DEPTH = 32
_QUANTIFIER = re.compile(r"([*+?]|\{(\d{1,4})(?:(,)(\d{0,4}))?\})")
_FLAGS = re.compile(r"\(\?([is]{1,2})\)")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPES = frozenset("dDwWsSnrtfv")

_Fragment = tuple[int, list[int]]  # the entry state, and the states whose next one is still open
_Build = Callable[[], _Fragment]


class Pattern:
    """Raises ValueError that says what is wrong with `text`."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._flags = 0
        if flags := _FLAGS.match(text):
            self._at = flags.end()
            self._flags = (re.IGNORECASE if "i" in flags[1] else 0) | (re.DOTALL if "s" in flags[1] else 0)
        # a state: what one character must match (None: pass through; "^", "$": an end), and where it leads
        self._tests: list[re.Pattern[str] | str | None] = []
        self._next: list[list[int]] = []
        build = self._alternatives(0)
        if self._at < len(text):
            raise ValueError(f"the pattern has a ')' too many at {self._at}")
        start, open_ends = build()
        self._start = start
        self._end = self._state(None)
        self._join(open_ends, self._end)

    def found_in(self, text: str) -> bool:
        """Whether it matches somewhere in `text`. Takes len(text) times the number of states at most."""
        states: set[int] = set()
        for at in range(len(text) + 1):
            states = self._closure({*states, self._start}, first=at == 0, last=at == len(text))
            if self._end in states:
                return True
            if at < len(text):
                states = self._step(states, text[at])
        return False

    # --- matching

    def _closure(self, states: set[int], *, first: bool, last: bool) -> set[int]:
        seen, todo = set(states), list(states)
        while todo:
            state = todo.pop()
            test = self._tests[state]
            if test is None or (test == "^" and first) or (test == "$" and last):
                fresh = [each for each in self._next[state] if each not in seen]
                seen.update(fresh)
                todo += fresh
        return seen

    def _step(self, states: set[int], char: str) -> set[int]:
        found: set[int] = set()
        for state in states:
            test = self._tests[state]
            if isinstance(test, re.Pattern) and test.fullmatch(char):
                found.update(self._next[state])
        return found

    # --- building: parsing gives functions, so that a repeated part can be built more than once

    def _alternatives(self, depth: int) -> _Build:
        if depth > _MAX_DEPTH:
            raise ValueError(f"the pattern's groups are nested deeper than {_MAX_DEPTH}")
        ways = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            ways.append(self._sequence(depth))
        return ways[0] if len(ways) == 1 else lambda: self._either([way() for way in ways])

    def _sequence(self, depth: int) -> _Build:
        parts: list[_Build] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom(depth)))
        return lambda: self._chain(parts)

    def _atom(self, depth: int) -> _Build:
        text, at = self._text, self._at
        char = text[at]
        if char == "(":
            return self._group(depth)
        if char in "*+?{":
            raise ValueError(f"the pattern has nothing to repeat at {at}; write \\{char} for the character itself")
        if char in "^$":
            self._at += 1
            return lambda: self._one(char)
        if char == "[":
            found = _CLASS.match(text, at)
            if found is None:
                raise ValueError(f"the pattern's class at {at} has no ']'")
            source = found[0]
        elif char == "\\":
            source = text[at : at + 2]
            if len(source) < 2 or (source[1].isalnum() and source[1] not in _ESCAPES):
                raise ValueError(f"the pattern's escape {source!r} at {at} is not supported")
        else:
            source = char if char == "." else re.escape(char)
        self._at += len(source) if char in "[\\" else 1
        try:
            test = re.compile(source, self._flags)
        except re.error as error:
            raise ValueError(f"the pattern's {source!r} at {at} is wrong: {error}") from None
        return lambda: self._one(test)

    def _group(self, depth: int) -> _Build:
        at = self._at
        if self._text.startswith("(?:", at):
            self._at += 3
        elif self._text.startswith("(?", at):
            raise ValueError(f"the pattern's {self._text[at:at + 3]!r} at {at} is not supported; use (…) or (?:…)")
        else:
            self._at += 1
        inner = self._alternatives(depth + 1)
        if self._peek() != ")":
            raise ValueError(f"the pattern's group at {at} has no ')'")
        self._at += 1
        return inner

    def _repeated(self, atom: _Build) -> _Build:
        found = _QUANTIFIER.match(self._text, self._at)
        if found is None:
            return atom
        self._at = found.end()
        if self._peek() in ("*", "+", "?", "{"):
            raise ValueError(f"the pattern repeats a repetition at {self._at}; put the inner one in a group")
        least, most = _bounds(found)
        if most is not None and most < least:
            raise ValueError(f"the pattern's {found[0]} asks for less than its least")

        def build() -> _Fragment:
            parts = [atom] * least
            if most is None:
                return self._chain([*parts, lambda: self._loop(atom)])
            return self._chain([*parts, *[lambda: self._optional(atom)] * (most - least)])

        return build

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    # --- states

    def _state(self, test: re.Pattern[str] | str | None, *following: int) -> int:
        if len(self._tests) >= MAX_STATES:
            raise ValueError(f"the pattern unfolds to more than {MAX_STATES} states; repeat less")
        self._tests.append(test)
        self._next.append(list(following))
        return len(self._tests) - 1

    def _join(self, ends: list[int], state: int) -> None:
        for end in ends:
            self._next[end].append(state)

    def _one(self, test: re.Pattern[str] | str) -> _Fragment:
        state = self._state(test)
        return state, [state]

    def _chain(self, parts: list[_Build]) -> _Fragment:
        start = self._state(None)
        ends = [start]
        for part in parts:
            entry, following = part()
            self._join(ends, entry)
            ends = following
        return start, ends

    def _either(self, ways: list[_Fragment]) -> _Fragment:
        start = self._state(None, *(entry for entry, _ in ways))
        return start, [end for _, ends in ways for end in ends]

    def _optional(self, atom: _Build) -> _Fragment:
        entry, ends = atom()
        start = self._state(None, entry)
        return start, [*ends, start]

    def _loop(self, atom: _Build) -> _Fragment:
        entry, ends = atom()
        start = self._state(None, entry)
        self._join(ends, start)
        return start, [start]


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    if found[1] in ("*", "+", "?"):
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[1]]
    least = int(found[2])
    if found[3] is None:
        return least, least
    return least, int(found[4]) if found[4] else None
