"""How many prompt tokens one step may carry, so that a step stays short."""

from __future__ import annotations

# A step with a prompt in it aims at this; of that, the prompts always get their share, however many generate.
STEP_SECONDS = 0.2
PROMPT_SECONDS = 0.15
SMALLEST = 32
_GRAIN = 8
_START_SECONDS = PROMPT_SECONDS / 128  # a token, until the first step was seen


class Pace:
    """Learns from the steps it sees what a prompt token takes. What the generating sequences of a step cost comes on
    top: it is learned from steps without prompts, and a mixed step is charged less by it.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._token_seconds = _START_SECONDS
        self._generating: dict[int, float] = {}  # seconds of a step that only generates, by its sequences

    def chunk(self, *, generating: int) -> int:
        """Prompt tokens for the next step, beside so many sequences that generate."""
        target = max(PROMPT_SECONDS, STEP_SECONDS - self._cost(generating))
        return min(self._most, max(SMALLEST, int(target / self._token_seconds) // _GRAIN * _GRAIN))

    def observe(self, *, prompt_tokens: int, seconds: float, generating: int = 0) -> None:
        """A step with this many prompt tokens and generating sequences took so long."""
        if prompt_tokens == 0:
            before = self._generating.get(generating, seconds)
            self._generating[generating] = (before + seconds) / 2
            return
        # Small steps say nothing about the speed of large ones.
        if prompt_tokens < SMALLEST or prompt_tokens < self.chunk(generating=generating) // 2:
            return
        prompts = max(seconds - self._cost(generating), seconds / 4)
        # At most doubling or halving a step: one hiccup of a shared machine must not swing it.
        seen = min(max(prompts / prompt_tokens, self._token_seconds / 2), self._token_seconds * 2)
        self._token_seconds = max((self._token_seconds + seen) / 2, 1e-6)

    def _cost(self, generating: int) -> float:
        """Seconds that so many generating sequences take: as seen, or in proportion to the most seen."""
        known = self._generating.get(generating)
        if known is not None or not self._generating or not generating:
            return known or 0.0
        most = max(self._generating)
        return self._generating[most] * min(1.0, generating / most)
