"""Time, injected: every timer runs on monotonic seconds, wall time is only shown."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """`monotonic` never jumps; `wall` is Unix seconds and may."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def wall_of(self, monotonic: float) -> float:
        """Unix seconds of a monotonic moment, by the clocks of now."""
        return self.wall() + (monotonic - self.monotonic())
