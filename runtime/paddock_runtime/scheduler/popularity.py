"""How often something was asked for lately: one number that halves with time. The server and a replay count alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

HALF_LIFE = 1200.0  # seconds: long enough to tell a favourite from a passer-by, short enough to follow the day


@dataclass(slots=True)
class Popularity:
    """Uses as of `at` (seconds), each counted half after each half-life."""

    half_life: float = HALF_LIFE
    count: float = 0.0
    at: float = 0.0

    def use(self, now: float) -> None:
        self.count = self._decayed(now) + 1.0
        self.at = now

    def rate(self, now: float) -> float:
        """Uses a second to be expected."""
        return self._decayed(now) * math.log(2.0) / self.half_life

    def _decayed(self, now: float) -> float:
        return self.count * 2.0 ** (-max(0.0, now - self.at) / self.half_life)
