"""What a predictor says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """`model` (namespace/name) will be asked between `made` and `until`; certain from 0 to 1. One guess has one `made`,
    also when its end moves. Unix seconds."""

    model: str
    certainty: float
    made: float
    until: float

    @property
    def seconds(self) -> float:
        """How long it may be waited for."""
        return self.until - self.made


@dataclass(frozen=True, kw_only=True)
class Habits:
    """The numbers of prediction, with their reasons. Seconds."""

    window: float = 900.0  # what is asked so long after another counts as following it
    lead: float = 300.0  # so long before its half-hour a Model is expected: longer than any load
    least: float = 0.5  # less certain ones are no guesses: more of them would be wrong than right
    twice: float = 2.0  # what happened only once is no habit
    most: int = 16  # guesses at a time: there is room for a few loads only
    models: int = 5_000
    tenants: int = 1_000  # whose last Model is known
    successors: int = 8  # of one Model
    memory: float = 32.0  # times that a Model was left for another; then old habits count half
