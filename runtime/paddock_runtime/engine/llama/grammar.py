"""Grammars and JSON schemas of requests, checked before native code sees them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter

from paddock_runtime.engine.llama.gbnf import Alternative, Grammar, GrammarRefused, parse
from paddock_runtime.engine.llama.growth import grows
from paddock_runtime.engine.llama.schema import Converter, load_schema

__all__ = ["JSON_OBJECT_SCHEMA", "GrammarRefused", "check_gbnf", "schema_to_gbnf"]

MAX_WIDTH = 4_000  # ways to go on that llama.cpp tries for each token of the vocabulary
MAX_LEFT_DEPTH = 2_000  # it recurses over leftmost references
MAX_CLOSURE = 8_000_000  # ways times the references each has open: words of memory

JSON_OBJECT_SCHEMA = '{"type": "object"}'

Rules = dict[int, list[Alternative]]


@lru_cache(maxsize=32)  # a client sends the same grammar again and again; at most 2 MiB of text
def check_gbnf(text: str) -> None:
    """Raises GrammarRefused if llama.cpp could not take this grammar, or would crash, hang or explode on it.

    One thing only the vocabulary can tell: whether a `<token>` is one token. Then `llama_sampler_init_grammar`
    returns NULL.
    """
    grammar = parse(text)
    rules = grammar.rules
    empty = _may_be_empty(rules)
    _refuse_barren(grammar, empty)
    left = {number: list(_leftmost(alternatives, empty)) for number, alternatives in rules.items()}
    directly_empty = {number for number, alternatives in rules.items() if [] in alternatives}
    for number, alternatives in rules.items():
        # X* where X may be empty becomes S ::= X S | and is harmless: S is last, so nothing piles up. But
        # llama.cpp refuses it if X has an empty alternative itself.
        refused = set(_leftmost(alternatives, directly_empty))
        left[number] = [edge for edge in left[number] if edge[0] != number or not edge[1] or edge in refused]
    _refuse_wide(grammar, left)
    if grows(grammar):
        raise GrammarRefused("The grammar is too ambiguous: the ways to read one text multiply with its length. "
                             "Give alternatives that begin alike a common rule.")


@lru_cache(maxsize=32)
def schema_to_gbnf(document: str) -> str:
    """The grammar of a JSON schema (its text), checked as by `check_gbnf`. Raises GrammarRefused.

    References are followed inside the document only; nothing is ever fetched.
    """
    text = Converter(load_schema(document)).convert()
    check_gbnf(text)
    return text


def _may_be_empty(rules: Rules) -> set[int]:
    found: set[int] = set()
    waiting: dict[int, list[tuple[int, Alternative, int]]] = {}
    todo = [(number, alternative, 0) for number, alternatives in rules.items() for alternative in alternatives]
    while todo:
        number, alternative, at = todo.pop()
        if number in found:
            continue
        while at < len(alternative) and alternative[at] in found:
            at += 1
        if at == len(alternative):
            found.add(number)
            todo += waiting.pop(number, [])
        elif alternative[at] >= 0:
            waiting.setdefault(alternative[at], []).append((number, alternative, at))
    return found


def _leftmost(alternatives: list[Alternative], empty: set[int]) -> Iterator[tuple[int, bool]]:
    """The rules that an alternative may begin with, and whether nothing follows them there."""
    for alternative in alternatives:
        for at, item in enumerate(alternative):
            if item >= 0:
                yield item, at == len(alternative) - 1
            if item not in empty:
                break


def _begins_with_terminal(alternative: Alternative, empty: set[int]) -> bool:
    return next((item < 0 for item in alternative if item not in empty), False)


def _refuse_barren(grammar: Grammar, empty: set[int]) -> None:
    """A rule that can neither be empty nor begin leaves llama.cpp without a way to go on: it aborts."""
    alive = set(empty)
    starts: set[int] = set()
    users: dict[int, list[int]] = {}
    todo: list[int] = []
    for number, alternatives in grammar.rules.items():
        for target, _ in _leftmost(alternatives, empty):
            users.setdefault(target, []).append(number)
        if any(_begins_with_terminal(alternative, empty) for alternative in alternatives):
            todo.append(number)
    while todo:
        number = todo.pop()
        if number not in starts:
            starts.add(number)
            todo += users.get(number, [])
    alive |= starts
    for number in grammar.rules:
        if number not in alive:
            raise GrammarRefused(f"The grammar's {_label(grammar, number)} can never begin: "
                                 "it only leads back to itself.")


def _refuse_wide(grammar: Grammar, left: dict[int, list[tuple[int, bool]]]) -> None:
    sorter = TopologicalSorter({number: {target for target, _ in edges} for number, edges in left.items()})
    try:
        order = list(sorter.static_order())
    except CycleError as error:
        raise GrammarRefused(f"The grammar is left-recursive in {_label(grammar, error.args[1][0])}: "
                             "let the rule begin with something else before it refers to itself.") from None
    width: dict[int, int] = {}
    depth: dict[int, int] = {}
    for number in order:
        width[number] = len(grammar.rules[number]) + sum(width[target] for target, _ in left[number])
        depth[number] = 1 + max((depth[target] for target, _ in left[number]), default=0)
        if depth[number] > MAX_LEFT_DEPTH:
            raise GrammarRefused(f"The grammar's rules begin with each other more than {MAX_LEFT_DEPTH:,} deep.")
        if width[number] > MAX_WIDTH or width[number] * depth[number] > MAX_CLOSURE:
            raise GrammarRefused(f"The grammar's {_label(grammar, number)} can begin in more than {MAX_WIDTH:,} ways: "
                                 "give alternatives that begin alike a common rule.")


def _label(grammar: Grammar, number: int) -> str:
    return f"rule {grammar.owners[number][:80]!r}"
