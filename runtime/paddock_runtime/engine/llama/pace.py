"""How many prompt tokens one step may carry, so that a step stays short."""

from __future__ import annotations

from typing import NamedTuple

# A step with a prompt in it aims at this; of that, the prompts always get their share, however many generate.
STEP_SECONDS = 0.2
PROMPT_SECONDS = 0.15
# While nothing generates, no stream waits for the step: it is as long as a cancel or a newcomer may wait.
QUIET_SECONDS = 0.35
SMALLEST = 32
_START_SECONDS = PROMPT_SECONDS / 128  # a token, until the first step was seen
# From so many tokens on, llama.cpp's attention on CPUs works by tiles, and one that is not full costs as much as a full
# one: faster where the cells of a tile's tokens lie together, slower where they are scattered, as those of many
# sequences are. So large steps are whole tiles, and what a token takes is learned apart for steps below and from here
# on, for steps of one prompt and of several, and beside sequences that generate (which scatter cells) or alone.
TILE = 64
# The kind of step that is not taken is thought a little faster with each that is, until it is worth a try again: cells
# that lay scattered may lie together by now.
_FORGET, _WORTH_A_TRY = 0.98, 0.8
_WORTH_MORE_STEPS = 0.9  # small steps are more steps, and each has its overhead


class _Kind(NamedTuple):
    several_prompts: bool
    beside_generating: bool


class Pace:
    """Learns from the steps it sees what a prompt token takes. What the generating sequences of a step cost comes on
    top: it is learned from steps without prompts, and a mixed step is charged less by it.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        # Seconds of a prompt token, by kind of step: of steps below TILE tokens, and of others.
        self._small: dict[_Kind, float] = {}
        self._large: dict[_Kind, float] = {}
        self._generating: dict[int, float] = {}  # seconds of a step that only generates, by its sequences

    def chunk(self, *, generating: int, prompts: int = 1) -> int:
        """Tokens of so many prompts for the next step, beside so many sequences that generate."""
        target = max(PROMPT_SECONDS, STEP_SECONDS - self._cost(generating)) if generating else QUIET_SECONDS
        kind = _Kind(prompts > 1, generating > 0)
        small, large = self._known(self._small, kind), self._known(self._large, kind)
        rows = min(int(target / large), self._most - generating) + generating
        tiles = round(rows / TILE) if rows >= TILE else 0
        fits = TILE - 1 - generating  # what a small step has room for
        if fits >= SMALLEST and (small < large * _WORTH_MORE_STEPS or not tiles):
            return max(SMALLEST, min(fits, int(target / small), self._most))
        return max(SMALLEST, tiles * TILE - generating)

    def observe(self, *, prompt_tokens: int, seconds: float, generating: int = 0, prompts: int = 1) -> None:
        """A step with this many tokens of so many prompts, and generating sequences, took so long."""
        if prompt_tokens == 0:
            before = self._generating.get(generating, seconds)
            self._generating[generating] = (before + seconds) / 2
            return
        if prompt_tokens < SMALLEST:  # says nothing about the speed of more
            return
        kind = _Kind(prompts > 1, generating > 0)
        token = max(seconds - self._cost(generating), seconds / 4) / prompt_tokens
        used, unused = self._small, self._large
        if prompt_tokens + generating >= TILE:
            used, unused = unused, used
        used[kind] = _learned(self._known(used, kind), token)
        unused[kind] = _forgotten(self._known(unused, kind), used[kind])

    def _known(self, seconds: dict[_Kind, float], kind: _Kind) -> float:
        """Of what was never seen the other size of the same kind says most, then the mean of all kinds."""
        for table in (seconds, self._small, self._large):
            if kind in table:
                return table[kind]
        seen = [*self._small.values(), *self._large.values()]
        return sum(seen) / len(seen) if seen else _START_SECONDS

    def _cost(self, generating: int) -> float:
        """Seconds that so many generating sequences take: as seen, or in proportion to the most seen."""
        known = self._generating.get(generating)
        if known is not None or not self._generating or not generating:
            return known or 0.0
        most = max(self._generating)
        return self._generating[most] * min(1.0, generating / most)


def _learned(before: float, seen: float) -> float:
    """At most doubling or halving a step: one hiccup of a shared machine must not swing it."""
    return max((before + min(max(seen, before / 2), before * 2)) / 2, 1e-6)


def _forgotten(unused: float, used: float) -> float:
    return max(unused * _FORGET, min(unused, used * _WORTH_A_TRY))
