"""The predictor: requests in, guesses out. Its state is bounded, and a JSON document keeps it over a restart.

A request costs a constant number of steps, a look at the guesses as many as there are; once each half-hour it goes
through the Models that were ever asked in the coming one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from paddock_runtime.predict.follows import Follows
from paddock_runtime.predict.rhythm import Rhythm
from paddock_runtime.predict.types import Guess, Habits

_FORMAT = 1


class Predictor:
    """`now` is Unix seconds; Models are named namespace/name."""

    def __init__(self, habits: Habits | None = None) -> None:
        self._habits = habits or Habits()
        self._follows, self._rhythm = Follows(self._habits), Rhythm(self._habits)

    def asked(self, model: str, tenant: str, now: float) -> bool:
        """Whether there is a guess that was not there before."""
        self._rhythm.asked(model, now)
        return self._follows.asked(model, tenant, now)

    def guesses(self, now: float) -> list[Guess]:
        """The most certain first."""
        best: dict[str, Guess] = {}
        for guess in [*self._rhythm.guesses(now), *self._follows.guesses(now)]:
            known = best.get(guess.model)
            if known is None or guess.certainty > known.certainty:
                best[guess.model] = guess
        ordered = sorted(best.values(), key=lambda guess: (-guess.certainty, guess.model))
        return ordered[:self._habits.most]

    def keep(self, models: Collection[str]) -> None:
        """Forgets all others."""
        self._follows.keep(models)
        self._rhythm.keep(models)

    def snapshot(self) -> dict[str, Any]:
        """All that was learned, ready for `json.dumps`: a copy, that may be written in another thread."""
        return {"format": _FORMAT, "follows": self._follows.snapshot(), "rhythm": self._rhythm.snapshot()}

    def restore(self, kept: object) -> None:
        """Into a new predictor. What is not understood is let go by: it can be learned again."""
        if not isinstance(kept, dict) or kept.get("format") != _FORMAT:
            return
        for part, found in ((self._follows, kept.get("follows")), (self._rhythm, kept.get("rhythm"))):
            if isinstance(found, dict):
                part.restore(found)
