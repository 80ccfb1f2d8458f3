"""How many prompt tokens one step may carry, so that a step stays short."""

from __future__ import annotations

TARGET_SECONDS = 0.15
SMALLEST = 32
_GRAIN = 32
_START = 128


class Pace:
    """Learns the speed from the steps it sees. Pure but for what `observe` was told."""

    def __init__(self, *, most: int, target: float = TARGET_SECONDS) -> None:
        self._most = most
        self._target = target
        self._chunk = float(min(_START, most))

    @property
    def chunk(self) -> int:
        """Prompt tokens for the next step."""
        return min(self._most, max(SMALLEST, int(self._chunk) // _GRAIN * _GRAIN))

    def observe(self, *, prompt_tokens: int, seconds: float) -> None:
        """A step with this many prompt tokens took so long. Small steps say nothing about the speed of large ones."""
        if prompt_tokens < SMALLEST or prompt_tokens < self.chunk // 2:
            return
        fitting = prompt_tokens * self._target / max(seconds, 1e-6)
        # At most doubling or halving a step: one hiccup of a shared machine must not swing it.
        fitting = min(max(fitting, self._chunk / 2), self._chunk * 2)
        self._chunk = min(float(self._most), max(float(SMALLEST), (self._chunk + fitting) / 2))
