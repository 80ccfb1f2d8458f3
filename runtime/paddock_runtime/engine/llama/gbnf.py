"""Reads GBNF as llama.cpp's parser does, and says no to what would crash, hang or explode there.

llama.cpp expands groups and repetitions into further rules, recurses over groups and over leftmost references, and
has no limits on either. This parser does the same expansion, counting instead of building, with limits.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

MAX_BYTES = 64 << 10
MAX_DEPTH = 100  # nested groups
MAX_RULES = 2_000  # that are written
MAX_EXPANDED_RULES = 20_000  # with those that groups and repetitions become
MAX_ELEMENTS = 200_000  # characters, ranges and references of all expanded rules
MAX_REPETITIONS = 2_000  # also of repetitions inside each other
MAX_NAME = 1_024

# An item of an alternative: a rule's number, or -1 - the number of a terminal.
Alternative = list[int]


class Terminal(NamedTuple):
    """A string, a class (`negated` or not), any character, or one token. `body` is as written, without its quotes."""

    kind: Literal["string", "class", "any", "token"]
    body: str = ""
    negated: bool = False
    elements: int = 1


class GrammarRefused(Exception):
    """The grammar or the schema is wrong or over a limit; `message` says which, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


_ESCAPE = r'\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[trn\\"\[\]-])'
_LITERAL = re.compile(rf'"((?:[^"\\]|{_ESCAPE})*+)"')
_CLASS = re.compile(rf"\[\^?((?:[^\]\\]|{_ESCAPE})*+)\]")
CHARACTER = re.compile(rf"[^\\]|{_ESCAPE}")
_NAME = re.compile(r"[a-zA-Z0-9-]+")
_TOKEN = re.compile(r"!?<(?:\[([0-9]{1,10})\]|(?!\[)[^>]*)>")
_REPETITION = re.compile(r"\{([0-9]+)(,)?([0-9]+)?\}")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_BLANKS_IN_REPETITION = re.compile(r"\{[^{}]*\}")


class Grammar:
    """The expanded rules, by number: of each the alternatives. `names` are the written rules."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.rules: dict[int, list[Alternative]] = {}
        self.terminals: list[Terminal] = []
        self.owners: list[str] = []  # by number: the written rule that it belongs to
        self._elements = 0

    def symbol(self, name: str) -> int:
        if name not in self.names:
            self.names[name] = self.new_symbol(name)
            if len(self.names) > MAX_RULES:
                raise GrammarRefused(f"The grammar has more than {MAX_RULES:,} rules: write a smaller one.")
        return self.names[name]

    def new_symbol(self, owner: str) -> int:
        self.owners.append(owner)
        if len(self.owners) > MAX_EXPANDED_RULES:
            raise GrammarRefused(f"The grammar's groups and repetitions expand to more than {MAX_EXPANDED_RULES:,} "
                                 "rules: use fewer or smaller repetitions.")
        return len(self.owners) - 1

    def terminal(self, terminal: Terminal) -> int:
        """The item that stands for it."""
        self.terminals.append(terminal)
        return -len(self.terminals)

    def weight(self, items: Alternative) -> int:
        """What llama.cpp stores for them, in elements."""
        return sum(1 if item >= 0 else self.terminals[-1 - item].elements for item in items)

    def charge(self, elements: int) -> None:
        self._elements += elements
        if self._elements > MAX_ELEMENTS:
            raise GrammarRefused(f"The grammar expands to more than {MAX_ELEMENTS:,} elements: "
                                 "use fewer or smaller repetitions.")


def parse(text: str) -> Grammar:
    """The grammar with all groups and repetitions expanded. Raises GrammarRefused."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise GrammarRefused("The grammar holds a lone surrogate: send valid Unicode.") from None
    if size > MAX_BYTES:
        raise GrammarRefused(f"The grammar has {size:,} bytes, over the limit of {MAX_BYTES:,}.")
    if "\0" in text:
        raise GrammarRefused("The grammar holds a NUL character: write \\x00.")
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._owner = ""
        self._grammar = Grammar()

    def parse(self) -> Grammar:
        self._space(True)
        while self._at < len(self._text):
            self._rule()
        grammar = self._grammar
        for name, number in grammar.names.items():
            if number not in grammar.rules:
                raise GrammarRefused(f"The grammar uses the rule {name[:80]!r} but does not define it.")
        if "root" not in grammar.names:
            raise GrammarRefused("The grammar has no rule named root.")
        return grammar

    def _refuse(self, problem: str) -> GrammarRefused:
        line = self._text.count("\n", 0, self._at) + 1
        near = self._text[self._at : self._at + 20]
        return GrammarRefused(f"Line {line} of the grammar, at {near!r}: {problem}.")

    def _space(self, lines: bool) -> None:
        found = (_SPACE_AND_LINES if lines else _SPACE).match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _name(self) -> str:
        found = _NAME.match(self._text, self._at)
        if found is None:
            raise self._refuse("expecting a rule's name (letters, digits and -)")
        if len(found[0]) > MAX_NAME:
            raise self._refuse(f"the rule's name is longer than {MAX_NAME:,} characters")
        self._at = found.end()
        return found[0]

    def _rule(self) -> None:
        self._owner = self._name()
        number = self._grammar.symbol(self._owner)
        self._space(False)
        if not self._text.startswith("::=", self._at):
            raise self._refuse("expecting ::=")
        self._at += 3
        self._space(True)
        self._grammar.rules[number] = self._alternatives(0)
        if self._at < len(self._text) and self._peek() not in "\r\n":
            raise self._refuse("expecting the end of the line")
        self._space(True)

    def _alternatives(self, depth: int) -> list[Alternative]:
        found = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            self._space(True)
            found.append(self._sequence(depth))
        return found

    def _sequence(self, depth: int) -> Alternative:
        items: Alternative = []
        start = 0  # of the last symbol: what a repetition repeats
        inside = 1  # rules that this symbol made, times its repetitions
        while True:
            first = self._peek()
            if first and first in "*+?{":
                minimum, maximum = self._repetition(first)
                times = maximum or max(minimum, 1)
                if start == len(items):
                    raise self._refuse("nothing precedes the repetition")
                inside *= times
                if inside > MAX_REPETITIONS:
                    raise self._refuse(f"the repetition makes more than {MAX_REPETITIONS:,} copies")
                items[start:] = self._repeat(items[start:], minimum, maximum)
            else:
                before = len(self._grammar.owners)
                symbol = self._symbol(first, depth)
                if symbol is None:
                    return items
                inside = max(1, len(self._grammar.owners) - before) if first == "(" else 1
                start = len(items)
                items += symbol
                self._grammar.charge(self._grammar.weight(symbol))
            self._space(depth > 0)

    def _symbol(self, first: str, depth: int) -> Alternative | None:
        """The next symbol as no item (it is empty) or one; None at the end of the sequence."""
        if first == '"':
            return self._terminal("string", _LITERAL)
        if first == "[":
            return self._terminal("class", _CLASS)
        if first == "(":
            return [self._group(depth)]
        if first == ".":
            self._at += 1
            return [self._grammar.terminal(Terminal("any"))]
        if first and first in "<!":
            found = _TOKEN.match(self._text, self._at)
            if found is None or int(found[1] or 0) >= 1 << 32:
                raise self._refuse("expecting a token, <text> or <[number]>")
            self._at = found.end()
            return [self._grammar.terminal(Terminal("token"))]
        if _NAME.match(first):
            return [self._grammar.symbol(self._name())]
        return None

    def _terminal(self, kind: Literal["string", "class"], pattern: re.Pattern[str]) -> Alternative:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise self._refuse(f"the {kind} does not end, or holds an unknown escape")
        self._at = found.end()
        elements = sum(1 for _ in CHARACTER.finditer(found[1]))
        negated = found[0].startswith("[^")
        return [self._grammar.terminal(Terminal(kind, found[1], negated, elements))] if elements else []

    def _group(self, depth: int) -> int:
        if depth == MAX_DEPTH:
            raise self._refuse(f"groups are nested deeper than {MAX_DEPTH}")
        self._at += 1
        self._space(True)
        number = self._grammar.new_symbol(self._owner)
        self._grammar.rules[number] = self._alternatives(depth + 1)
        if self._peek() != ")":
            raise self._refuse("expecting )")
        self._at += 1
        return number

    def _repetition(self, first: str) -> tuple[int, int | None]:
        """How often at least and at most; None: no limit."""
        if first != "{":
            self._at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[first]
        braces = _BLANKS_IN_REPETITION.match(self._text, self._at)
        found = _REPETITION.fullmatch(re.sub(r"[ \t]", "", braces[0])) if braces else None
        if braces is None or found is None:
            raise self._refuse("expecting {m}, {m,} or {m,n}")
        if max(len(found[1]), len(found[3] or "")) > 9:
            raise self._refuse(f"a repetition may not exceed {MAX_REPETITIONS:,}")
        minimum = int(found[1])
        maximum = int(found[3]) if found[3] else None if found[2] else minimum
        if max(minimum, maximum or 0) > MAX_REPETITIONS:
            raise self._refuse(f"a repetition may not exceed {MAX_REPETITIONS:,}")
        if maximum is not None and maximum < minimum:
            raise self._refuse("the repetition's maximum is below its minimum")
        self._at = braces.end()
        return minimum, maximum

    def _repeat(self, items: Alternative, minimum: int, maximum: int | None) -> Alternative:
        """S{m,n} as llama.cpp expands it: m copies, then S' ::= S S'' |, … (n - m further rules)."""
        grammar = self._grammar
        optional = 1 if maximum is None else maximum - minimum
        weight = grammar.weight(items)
        grammar.charge(max(0, minimum - 1) * weight + optional * (weight + 2))
        last: int | None = None
        for _ in range(optional):
            number = grammar.new_symbol(self._owner)
            following = number if maximum is None else last
            grammar.rules[number] = [items if following is None else [*items, following], []]
            last = number
        return items * minimum + ([] if last is None else [last])
