"""Grammars: what crashes, hangs or explodes in llama.cpp is refused before it gets there; what passes is taken."""

from __future__ import annotations

import contextlib
import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_runtime.engine.llama.gbnf import MAX_BYTES, MAX_DEPTH, MAX_RULES
from paddock_runtime.engine.llama.grammar import GrammarRefused, check_gbnf
from tests.native_grammar import verdicts


def chain(rules: int) -> str:
    """`rules` rules, each of which begins with the next."""
    middle = "".join(f"r{n} ::= r{n + 1}\n" for n in range(1, rules - 1))
    return f'root ::= r1\n{middle}r{rules - 1} ::= "a"\n'


def nested(groups: int) -> str:
    return f'root ::= {"(" * groups}"a"{")" * groups}'


def ladder(step: str, height: int = 30) -> str:
    """Rules whose ways to begin double with each: 2 to the power of `height`."""
    names = ["root", *(f"r{n}" for n in range(1, height + 1))]
    rules = [f"{name} ::= " + step.replace("R", following)
             for name, following in itertools.pairwise(names)]
    return "\n".join([*rules, f'{names[-1]} ::= "a"'])


REFUSED = {
    "60,000 nested groups": (nested(60_000), "bytes"),
    "30,000 nested groups": (nested(30_000), "nested deeper"),
    "one group too deep": (nested(MAX_DEPTH + 1), "nested deeper"),
    "200,000 rules": (chain(200_000), "bytes"),
    "one rule too many": (chain(MAX_RULES + 1), "more than 2,000 rules"),
    "too long": ('root ::= "a"\n#' + "x" * MAX_BYTES, "bytes"),
    "multiplied repetitions": ('root ::= "a"{1000}{1000}', "copies"),
    "a repetition too large": ('root ::= "a"{1,100000}', "may not exceed"),
    "a number that overflows": ('root ::= "a"{99999999999999999999}', "may not exceed"),
    "a falling repetition": ('root ::= "a"{5,2}', "below its minimum"),
    "a repeated long string": (f'root ::= "{"x" * 60_000}"{{2000}}', "elements"),
    "many large repetitions": ("root ::= " + '"a"{0,2000} ' * 100, "expand to more than 20,000 rules"),
    "nothing to repeat": ("root ::= *", "precedes"),
    "nothing left to repeat": ('root ::= "a"{0}*', "precedes"),
    "an empty string repeated": ('root ::= ""*', "precedes"),
    "left recursion": ('root ::= root "a" | "b"', "left-recursive"),
    "left recursion over rules": ('root ::= a\na ::= b "x"\nb ::= root | "y"', "left-recursive"),
    "left recursion behind what may be empty": ('root ::= b root "x"\nb ::= c\nc ::= "" | "y"', "left-recursive"),
    "a repetition of what may be nothing": ('root ::= ("" | "a")*', "left-recursive"),
    "a rule that leads nowhere": ("root ::= b root\nb ::= c\nc ::= []", "never begin"),
    "two ways each, distinct": (ladder('R "x" | R "y"'), "ways"),
    "two ways each, alike": (ladder("R | R"), "ways"),
    "ways that double with each character": ('root ::= "a" (root "x" | root "y") | "b"', "too ambiguous"),
    "the same behind a word": ('root ::= "go" p\np ::= "abc" (p "x" | [d-f] | p "y") | "b"', "too ambiguous"),
    "the same without recursion": (ladder('"a" (R "x" | R "y")'), "too ambiguous"),
    "the same by tokens": ("root ::= <[5]> (root <[6]> | root <[7]>)", "too ambiguous"),
    "an undefined rule": ("root ::= foo", "foo"),
    "no root": ('a ::= "b"', "no rule named root"),
    "an unterminated string": ('root ::= "abc', "does not end"),
    "a backslash at the end": ('root ::= "abc\\', "does not end"),
    "an unterminated class": ("root ::= [abc", "does not end"),
    "an unknown escape": (r'root ::= "\q"', "unknown escape"),
    "a short hex escape": (r'root ::= "\u12"', "unknown escape"),
    "an unterminated group": ('root ::= ("a"', "expecting )"),
    "a stray bracket": ('root ::= "a")', "end of the line"),
    "no definition": ("root", "::="),
    "an unterminated token": ("root ::= <think", "token"),
    "a token number too large": ("root ::= <[99999999999]>", "token"),
    "a NUL": ('root ::= "a\0b"', "NUL"),
    "a lone surrogate": ('root ::= "\ud800"', "surrogate"),
    "nothing": ("", "no rule named root"),
    "a very long name": (f'root ::= {"n" * 2000}\n{"n" * 2000} ::= "a"', "name"),
    "braces without end": ("root ::= " + '"a"{' * 10_000, "expecting {m}"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_bombs_and_nonsense_are_refused_quickly_and_with_a_reason(text: str, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(GrammarRefused) as refused:
        check_gbnf(text)
    assert reason in refused.value.message
    assert len(refused.value.message) < 400
    assert time.monotonic() - started < 5


LEGAL = {
    "the deepest": nested(MAX_DEPTH),
    "the most rules": chain(MAX_RULES),
    "the deepest in a loop": f"root ::= {'(' * MAX_DEPTH}[a-z]{')' * MAX_DEPTH}+",
    "the largest repetition": 'root ::= "a"{2000} "b"{0,1999}',
    "a loop of what may be empty by a loop": 'root ::= ("a"*)* ("b"? "c"*)*',
    "many values": "root ::= " + " | ".join(f'"value{n}"' for n in range(2000)),
    "everything of the syntax": '''# a comment
root ::= ws ( item | [^a-z\\]\\-] | . )+ "\\x41\\u00e9\\U0001F600\\n\\t\\r\\\\\\"\\[\\]" <[12]> !<[13]> # at the end
  item ::= "é😀" {2} | "x"{ 1 , } |
    "y"{1,3} | [-a] | [a-] | [] | ""
ws ::= [ \\t\\n]*\r\nunused ::= root\r\n''',
    "alternatives that begin alike": """root ::= statement*
statement ::= "if (" e ") " statement ("else " statement)? | "{" statement* "}" | simple
simple ::= name " = " e ";" | name "(" (e ("," e)*)? ");"
e ::= t (("+" | "-") t)*
t ::= name | name "(" e ")" | name "[" e "]" | [0-9]+ | [0-9]+ "." [0-9]+ | "(" e ")" | "-" t
name ::= [a-z] [a-z0-9]*""",
    "a redefined rule": 'root ::= a\na ::= "x"\na ::= "y"',
    "json": r'''root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}''',
}


def test_the_legal_extremes_pass_and_llama_cpp_takes_them() -> None:
    for text in LEGAL.values():
        check_gbnf(text)
    assert verdicts(list(LEGAL.values())) == [True] * len(LEGAL)


def test_the_double_of_native_code_would_notice() -> None:
    """The harness tells a grammar that llama.cpp refuses from one that it takes, and a crash from both."""
    assert verdicts(['root ::= "a"', 'root ::= root "a"', "root ::= ("]) == [True, False, False]
    with pytest.raises(AssertionError, match="ended with"):
        verdicts([nested(400_000)])


TERMINALS = ['"a"', '"b\\n"', "[a-c]", "[^x]", ".", "<[7]>", '"é"'] * 8 + ['""', "[]"]
SUFFIXES = ["", "", "", "", "*", "+", "?", "{2}", "{0,3}", "{2,}"] * 30 + ["**", "{3,1}", "{0}", "{60}{60}"]
NAMES = ["root", "a", "b", "c"]


def some_grammar(dice: random.Random) -> str:
    def sequence(depth: int, later: list[str]) -> str:
        length = dice.randint(dice.random() > 0.02, 3)
        return " ".join(symbol(depth, later) + dice.choice(SUFFIXES) for _ in range(length))

    def symbol(depth: int, later: list[str]) -> str:
        if depth < 4 and dice.random() < 0.2:
            return f"({alternatives(depth + 1, later)})"
        names = NAMES if dice.random() < 0.02 else later
        return dice.choice(names) if names and dice.random() < 0.3 else dice.choice(TERMINALS)

    def alternatives(depth: int, later: list[str]) -> str:
        return " | ".join(sequence(depth, later) for _ in range(dice.randint(1, 3)))

    text = "\n".join(f"{name} ::= {alternatives(0, NAMES[at + 1:])}" for at, name in enumerate(NAMES))
    if dice.random() < 0.2:
        at = dice.randrange(len(text))
        text = text[:at] + dice.choice('"[](){}*|\\\n:a') + text[at + 1:]
    return text


def test_llama_cpp_survives_and_takes_every_random_grammar_that_passes() -> None:
    dice = random.Random(7)
    accepted = []
    for _ in range(1500):
        text = some_grammar(dice)
        with contextlib.suppress(GrammarRefused):
            check_gbnf(text)
            accepted.append(text)
    assert 200 < len(accepted) < 1300
    assert verdicts(accepted) == [True] * len(accepted)


@given(st.text(max_size=200) | st.text(alphabet='root:= "a[](){}|*+?,1\n\\<>!-', max_size=80))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        check_gbnf(text)
    except GrammarRefused:
        return
    assert "root" in text
