"""Who computes how many tokens in the next step. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Pending(NamedTuple):
    """`tokens` of a sequence without cells yet: one for a sequence that generates, more for a prompt.

    `stop` bounds one step's share: at that position a state must be kept, or others wait to go on from it.
    """

    tokens: int
    stop: int | None = None


# The part of the prompt budget that the oldest prompt always gets, however many shorter ones arrive.
_OLDEST_SHARE = 4
# What is left of the budget after whole prompts is left alone if it is less than 1 / this of it: those that end with
# this step would wait for tokens that end nothing.
_CRUMB = 8


def plan(sequences: Sequence[Pending], *, prompt_budget: int, step_limit: int, cells: int) -> list[int] | None:
    """Tokens per sequence (given oldest first); None when not even the generating ones have cells.

    Generating sequences come first, one token each. Prompts share what is left of `prompt_budget`, the batch's
    `step_limit` and the free `cells`: a quarter for the oldest, the rest to the one that is nearest its first
    token, so that a short prompt does not wait behind a long one and the long one never starves. A last crumb is not
    given.
    """
    counts = [1 if each.tokens == 1 else 0 for each in sequences]
    generating = sum(counts)
    if cells < max(generating, 1):
        return None
    room = min(prompt_budget, step_limit - generating, cells - generating)
    prompts = [index for index, each in enumerate(sequences) if each.tokens > 1]
    if not prompts:
        return counts

    def give(index: int, most: int) -> int:
        each = sequences[index]
        wanted = each.tokens if each.stop is None else min(each.tokens, each.stop)
        share = max(0, min(wanted - counts[index], most))
        counts[index] += share
        return share

    crumb = room // _CRUMB
    room -= give(prompts[0], -(-room // _OLDEST_SHARE))
    for index in sorted(prompts, key=lambda index: sequences[index].tokens):
        if room < min(crumb, sequences[index].tokens - counts[index]):
            break
        room -= give(index, room)
    return [_evenly(each.stop, count) if each.stop is not None and each.tokens > 1 else count
            for each, count in zip(sequences, counts, strict=True)]


def _evenly(stop: int, count: int) -> int:
    """At most `count`, so that the steps to the stop are equal: a crumb at the end costs a step's whole overhead."""
    return -(-stop // -(-stop // count)) if count else 0
