"""How many prompt tokens one step may carry, so that a step stays short."""

from __future__ import annotations

TARGET_SECONDS = 0.15
SMALLEST = 32
_GRAIN = 16
_START = 128


class Pace:
    """Learns from the steps it sees how many prompt tokens take the target's time. What the generating sequences of
    a step cost comes on top: it is learned from steps without prompts, and a mixed step is charged less by it.
    """

    def __init__(self, *, most: int, target: float = TARGET_SECONDS) -> None:
        self._most = most
        self._target = target
        self._chunk = float(min(_START, most))
        self._generating: dict[int, float] = {}  # seconds of a step that only generates, by its sequences

    @property
    def chunk(self) -> int:
        """Prompt tokens for the next step."""
        return min(self._most, max(SMALLEST, int(self._chunk) // _GRAIN * _GRAIN))

    def observe(self, *, prompt_tokens: int, seconds: float, generating: int = 0) -> None:
        """A step with this many prompt tokens and generating sequences took so long."""
        if prompt_tokens == 0:
            before = self._generating.get(generating, seconds)
            self._generating[generating] = (before + seconds) / 2
            return
        # Small steps say nothing about the speed of large ones.
        if prompt_tokens < SMALLEST or prompt_tokens < self.chunk // 2:
            return
        prompts = max(seconds - self._cost(generating), seconds / 4)
        fitting = prompt_tokens * self._target / max(prompts, 1e-6)
        # At most doubling or halving a step: one hiccup of a shared machine must not swing it.
        fitting = min(max(fitting, self._chunk / 2), self._chunk * 2)
        self._chunk = min(float(self._most), max(float(SMALLEST), (self._chunk + fitting) / 2))

    def _cost(self, generating: int) -> float:
        """Seconds that so many generating sequences take: as seen, or in proportion to the most seen."""
        known = self._generating.get(generating)
        if known is not None or not self._generating or not generating:
            return known or 0.0
        most = max(self._generating)
        return self._generating[most] * min(1.0, generating / most)
