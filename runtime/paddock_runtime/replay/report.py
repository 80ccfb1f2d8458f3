"""What a replay brought, and how it is compared."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Outcome:
    """Counts and seconds. `waits` holds, for each request that was served, the seconds from its arrival until it ran;
    `refused` counts those whose Model does not fit."""

    loads: int = 0
    evictions: int = 0
    load_seconds: float = 0.0
    refused: int = 0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return sum(self.waits) / len(self.waits) if self.waits else 0.0

    @property
    def waited(self) -> float:
        """The share of requests that waited for a load or for room."""
        return sum(wait > 0 for wait in self.waits) / len(self.waits) if self.waits else 0.0

    def percentile(self, share: float) -> float:
        """The wait that `share` (0…1) of the requests did not exceed."""
        if not self.waits:
            return 0.0
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def summary(self) -> dict[str, float]:
        """For JSON: counts, and seconds rounded to milliseconds."""
        seconds = {"loadSeconds": self.load_seconds, "waitMean": self.mean, "waitP50": self.percentile(0.5),
                   "waitP95": self.percentile(0.95), "waitMax": self.percentile(1.0)}
        return {"requests": len(self.waits), "refused": self.refused, "loads": self.loads, "evictions": self.evictions,
                "waited": round(self.waited, 4), **{name: round(value, 3) for name, value in seconds.items()}}
