"""How often something is likely to be asked for next. The server and a replay count alike.

Two averages that fade: one of the last minute, for a conversation that is going on, and one of the last hours, for what
is a favourite of many. What was only just asked for once is soon forgotten; what is asked for all day is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FAST_HALF_LIFE = 30.0  # seconds: about as long as people think before they go on
SLOW_HALF_LIFE = 14_400.0


@dataclass(slots=True)
class Popularity:
    """Uses as of `at` (seconds), each counted half after each half-life."""

    fast: float = 0.0
    slow: float = 0.0
    at: float = 0.0

    def use(self, now: float) -> None:
        self.fast = 1.0 + self.fast * _left(now - self.at, FAST_HALF_LIFE)
        self.slow = 1.0 + self.slow * _left(now - self.at, SLOW_HALF_LIFE)
        self.at = now

    def rate(self, now: float) -> float:
        """Uses a second to be expected."""
        age = now - self.at
        return math.log(2.0) * (self.fast * _left(age, FAST_HALF_LIFE) / FAST_HALF_LIFE
                                + self.slow * _left(age, SLOW_HALF_LIFE) / SLOW_HALF_LIFE)


def _left(age: float, half_life: float) -> float:
    return math.exp2(-max(0.0, age) / half_life)
