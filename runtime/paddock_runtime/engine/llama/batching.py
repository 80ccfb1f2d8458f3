"""Who computes how many tokens in the next step. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pending:
    """`tokens` of a sequence without cells yet: one for a sequence that generates, more for a prompt.

    `stop` bounds one step's share, where a state must be kept at an exact position.
    """

    tokens: int
    stop: int | None = None


def plan(sequences: Sequence[Pending], *, prompt_budget: int, step_limit: int, cells: int) -> list[int] | None:
    """Tokens per sequence, oldest first; None when not even the generating ones have cells.

    Generating sequences come first, one token each. Prompts share the rest in order of age, within
    `prompt_budget`, the batch's `step_limit` and the free `cells`.
    """
    counts = [1 if each.tokens == 1 else 0 for each in sequences]
    generating = sum(counts)
    if cells < max(generating, 1):
        return None
    room = min(prompt_budget, step_limit - generating, cells - generating)
    for index, each in enumerate(sequences):
        if each.tokens > 1 and room > 0:
            share = min(each.tokens, room, each.stop if each.stop is not None else each.tokens)
            counts[index] = share
            room -= share
    return counts
