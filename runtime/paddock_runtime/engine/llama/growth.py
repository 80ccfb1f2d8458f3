"""Tries whether a grammar's ambiguity grows without end.

llama.cpp keeps one stack for each way to read the text so far, and compares them all with each other. A grammar such as
`root ::= "a" (root "x" | root "y")` doubles them with every character. Whether a grammar can do so is undecidable in
general, so this plays an adversary with a small budget: it writes what keeps the most ways open. It finds what
explodes early; for the rest there are the memory limit and the watchdog of the engine.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from functools import cached_property

from paddock_runtime.engine.llama.gbnf import CHARACTER, Grammar, Terminal

MIN_LIMIT = 512  # ways at once
GROWTH_LIMIT = 4  # times the alternatives of the widest rule, if that is more
STEPS = 64
WALKS = 3
BUDGET = 30_000  # stacks looked at

_ESCAPES = {"t": 9, "r": 13, "n": 10}
_RANGE = re.compile(rf"({CHARACTER.pattern})(?:-({CHARACTER.pattern}))?", re.DOTALL)
_LAST = 0x10FFFF

Ranges = list[tuple[int, int]]
Place = tuple[int, int, int]  # alternative, item, character in the item
Stack = int  # a node; 0 is the empty stack


class OutOfBudget(Exception):
    pass


def grows(grammar: Grammar) -> bool:
    """True if a walk was found on which the ways to read the text multiply."""
    machine = _Machine(grammar)
    try:
        first = machine.begin()
        limit = max(MIN_LIMIT, GROWTH_LIMIT * max(map(len, grammar.rules.values())))
        return any(machine.walk(first, limit, random.Random(seed)) for seed in range(WALKS))
    except OutOfBudget:
        return False


class _Machine:
    """llama.cpp's pushdown automaton, with shared stacks: a node is a place and the node below it."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._alternatives: list[list[int]] = []
        self._of_rule: dict[int, list[int]] = {}
        for number, alternatives in grammar.rules.items():
            self._of_rule[number] = [*range(len(self._alternatives), len(self._alternatives) + len(alternatives))]
            self._alternatives += alternatives
        self._nodes: list[tuple[Place, Stack]] = [((-1, 0, 0), 0)]
        self._known: dict[tuple[Place, Stack], Stack] = {}
        self._characters: dict[int, _Characters] = {}
        self._spent = 0

    def begin(self) -> set[Stack]:
        root = self._grammar.names["root"]
        return self._advance(self._push((alternative, 0, 0), 0) for alternative in self._of_rule[root])

    def walk(self, stacks: set[Stack], limit: int, dice: random.Random) -> bool:
        for _ in range(STEPS):
            tried = [self._step(stacks, character) for character in self._promising(stacks, dice)]
            stacks = max(tried, key=len, default=set())
            if len(stacks) > limit:
                return True
            if not stacks:
                return False
        return False

    def _push(self, place: Place, below: Stack) -> Stack:
        """`below` with `place` on it; a place after the last item is no place."""
        alternative, item, _ = place
        if item == len(self._alternatives[alternative]):
            return below
        found = self._known.get((place, below))
        if found is None:
            found = self._known[place, below] = len(self._nodes)
            self._nodes.append((place, below))
        return found

    def _advance(self, stacks: Iterable[Stack]) -> set[Stack]:
        """The stacks with a terminal on top (or empty) that these lead to."""
        todo = list(stacks)
        seen: set[Stack] = set()
        found: set[Stack] = set()
        while todo:
            stack = todo.pop()
            if stack in seen:
                continue
            seen.add(stack)
            self._spent += 1
            if self._spent > BUDGET:
                raise OutOfBudget
            (alternative, item, _), below = self._nodes[stack]
            target = self._alternatives[alternative][item] if stack else -1
            if target < 0:
                found.add(stack)
                continue
            after = self._push((alternative, item + 1, 0), below)
            todo += [self._push((choice, 0, 0), after) for choice in self._of_rule[target]]
        return found

    def _top(self, stack: Stack) -> tuple[_Characters, int]:
        (alternative, item, at), _ = self._nodes[stack]
        number = -1 - self._alternatives[alternative][item]
        if number not in self._characters:
            self._characters[number] = _Characters(self._grammar.terminals[number])
        return self._characters[number], at

    def _step(self, stacks: set[Stack], character: int) -> set[Stack]:
        after = []
        for stack in stacks:
            if stack:
                characters, at = self._top(stack)
                if characters.take(at, character):
                    (alternative, item, _), below = self._nodes[stack]
                    last = at + 1 == characters.count
                    after.append(self._push((alternative, item + 1, 0) if last else (alternative, item, at + 1), below))
        return self._advance(after)

    def _promising(self, stacks: set[Stack], dice: random.Random) -> list[int]:
        """The character that most stacks take, and two others."""
        tops = {self._top(stack) for stack in stacks if stack}
        some = sorted({character for characters, at in tops for character in characters.examples(at)})
        some = some if len(some) <= 16 else dice.sample(some, 16)
        votes = {character: sum(characters.take(at, character) for characters, at in tops) for character in some}
        best = sorted(some, key=lambda character: -votes[character])
        return [*best[:1], *dice.sample(best[1:], min(2, len(best) - 1))] if best else []


class _Characters:
    """The characters of a terminal, one after the other."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.count = terminal.elements if terminal.kind == "string" else 1

    def take(self, at: int, character: int) -> bool:
        if self._terminal.kind == "string":
            return self._text[at] == character
        return any(low <= character <= high for low, high in self._ranges) != self._terminal.negated

    def examples(self, at: int) -> list[int]:
        if self._terminal.kind == "string":
            return [self._text[at]]
        if not self._terminal.negated:
            return [edge for pair in self._ranges[:8] for edge in pair]
        outside = [edge for low, high in self._ranges[:8] for edge in (low - 1, high + 1)]
        return [edge for edge in outside if edge >= 0 and self.take(at, edge)]

    @cached_property
    def _text(self) -> list[int]:
        return [_code(found[0]) for found in CHARACTER.finditer(self._terminal.body)]

    @cached_property
    def _ranges(self) -> Ranges:
        if self._terminal.kind != "class":
            return [(0, _LAST)]
        return [(_code(found[1]), _code(found[2] or found[1])) for found in _RANGE.finditer(self._terminal.body)]


def _code(written: str) -> int:
    if len(written) == 1:
        return ord(written)
    escape, digits = written[1], written[2:]
    return int(digits, 16) if digits else _ESCAPES.get(escape, ord(escape))
