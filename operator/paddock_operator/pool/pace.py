"""When a pool's next pass may begin: not soon after a costly one, and not in the middle of a burst of Models."""

from __future__ import annotations

from dataclasses import dataclass

# Least seconds between two passes of one pool; a pass that cost more than a fifth of that makes it longer.
PACE = 1.0
COST_SHARE = 5.0
MOST_PACE = 15.0
# A change of one Model writes every shard, so those of a burst wait for each other, but not for longer than this.
GATHER = 5.0
LOOK = 0.2


@dataclass
class Pace:
    """Times are of the monotonic clock. `generation`: of the pool's spec, as the last pass saw it. `cost`: seconds that
    it took to make the configuration and bring it to the pods. `gathering`: since when the next one waits for a burst
    of Models to end."""

    began: float | None = None
    generation: int | None = None
    cost: float = 0.0
    gathering: float | None = None

    def begin(self, now: float, generation: int | None) -> None:
        self.began, self.generation, self.gathering = now, generation, None

    def wait(self, now: float, generation: int | None, burst: bool) -> float:
        """Seconds until it should be asked again, 0 when a pass may begin. `generation`: of the pool's spec now: what
        its owner changed waits for no Models. `burst`: whether some are being worked on."""
        soonest = 0.0 if self.began is None else self.began + min(MOST_PACE, max(PACE, COST_SHARE * self.cost)) - now
        if not burst or generation != self.generation:
            self.gathering = None
            return max(0.0, soonest)
        self.gathering = now if self.gathering is None else self.gathering
        return max(0.0, soonest, min(LOOK, self.gathering + GATHER - now))
