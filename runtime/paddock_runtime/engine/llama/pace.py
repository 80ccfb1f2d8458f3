"""How many prompt tokens one step may carry, so that a step stays short."""

from __future__ import annotations

# A step with a prompt in it aims at this; of that, the prompts always get their share, however many generate. Where
# nobody generates no stream waits for the step's end, and larger steps bring all prompts to their first token sooner.
STEP_SECONDS = 0.2
PROMPT_SECONDS = 0.15
PROMPTS_ALONE_SECONDS = 0.3
SMALLEST = 32
_GRAIN = 8
_START_SECONDS = PROMPT_SECONDS / 128  # a token, until the first step was seen
# From so many tokens on, llama.cpp's attention on CPUs works by tiles: faster where a sequence's cells lie together,
# much slower where they are scattered. What a token takes is therefore learned apart for either kind of step.
TILE = 64
# The kind of step that is not taken is thought a little faster with each that is, until it is worth a try again: cells
# that lay scattered may lie together by now.
_FORGET, _WORTH_A_TRY = 0.98, 0.8


class Pace:
    """Learns from the steps it sees what a prompt token takes. What the generating sequences of a step cost comes on
    top: it is learned from steps without prompts, and a mixed step is charged less by it.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._small = self._large = _START_SECONDS  # a prompt token, in steps below TILE tokens and in others
        self._generating: dict[int, float] = {}  # seconds of a step that only generates, by its sequences

    def chunk(self, *, generating: int) -> int:
        """Prompt tokens for the next step, beside so many sequences that generate."""
        target = max(PROMPT_SECONDS, STEP_SECONDS - self._cost(generating)) if generating else PROMPTS_ALONE_SECONDS
        large = int(target / self._large) // _GRAIN * _GRAIN
        fits = TILE - 1 - generating  # what a small step has room for
        if fits >= SMALLEST and (self._small < self._large or large + generating < TILE):
            return max(SMALLEST, min(fits, int(target / self._small), self._most))
        return max(SMALLEST, min(large, self._most))

    def observe(self, *, prompt_tokens: int, seconds: float, generating: int = 0) -> None:
        """A step with this many prompt tokens and generating sequences took so long."""
        if prompt_tokens == 0:
            before = self._generating.get(generating, seconds)
            self._generating[generating] = (before + seconds) / 2
            return
        if prompt_tokens < SMALLEST:  # says nothing about the speed of more
            return
        prompts = max(seconds - self._cost(generating), seconds / 4)
        if prompt_tokens + generating < TILE:
            self._small = _learned(self._small, prompts / prompt_tokens)
            self._large = _forgotten(self._large, self._small)
        else:
            self._large = _learned(self._large, prompts / prompt_tokens)
            self._small = _forgotten(self._small, self._large)

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
