"""At which half-hours of the day, or of one day of the week, a Model is asked. 28 bits a half-hour that is in use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from paddock_runtime.predict.types import Guess, Habits

SLOT = 1800  # seconds
SLOTS = 48  # a day; by UTC, so that a change of the clocks costs a few days of learning
_DAYS = 28
_MASK = (1 << (_DAYS + 1)) - 1
_LAST_WEEK = ((1 << 7) - 1) << 1


@dataclass(slots=True)
class _Seen:
    """The first day it was seen, and by slot the last day it was asked there, with a bit for that day and each of the
    28 before it."""

    first: int
    slots: dict[int, tuple[int, int]] = field(default_factory=dict)


class Rhythm:
    def __init__(self, habits: Habits) -> None:
        self._habits = habits
        self._models: OrderedDict[str, _Seen] = OrderedDict()
        self._slots: list[set[str]] = [set() for _ in range(SLOTS)]  # who was ever asked there
        self._guesses_of: int | None = None
        self._guesses: dict[str, Guess] = {}

    def asked(self, model: str, now: float) -> None:
        number = int(now // SLOT)
        day, slot = divmod(number, SLOTS)
        seen = self._models.get(model)
        if seen is None:
            seen = self._models[model] = _Seen(day)
            while len(self._models) > self._habits.models:
                self._forget(next(iter(self._models)))
        self._models.move_to_end(model)
        last, bits = seen.slots.get(slot, (day, 0))
        if day >= last:  # a clock that was set back teaches nothing
            seen.slots[slot] = (day, _shifted(bits, day - last) | 1)
            self._slots[slot].add(model)
        if number == self._guesses_of:
            self._guesses.pop(model, None)

    def guesses(self, now: float) -> list[Guess]:
        number = int((now + self._habits.lead) // SLOT)
        if number != self._guesses_of:
            self._guesses_of, self._guesses = number, self._guess(number)
        return list(self._guesses.values())

    def keep(self, models: Collection[str]) -> None:
        """Forgets all others."""
        for model in [model for model in self._models if model not in models]:
            self._forget(model)

    def snapshot(self) -> dict[str, Any]:
        return {model: [seen.first, dict(seen.slots)] for model, seen in self._models.items()}

    def restore(self, kept: dict[str, Any]) -> None:
        """Takes what is well-formed."""
        for model, entry in list(kept.items())[-self._habits.models:]:
            try:
                first, slots = entry
                found = {int(slot): (int(day), int(bits) & _MASK) for slot, (day, bits) in slots.items()
                         if 0 <= int(slot) < SLOTS}
                self._models[model] = _Seen(int(first), found)
            except (TypeError, ValueError, OverflowError, AttributeError):
                continue
            for slot in found:
                self._slots[slot].add(model)

    def _guess(self, number: int) -> dict[str, Guess]:
        day, slot = divmod(number, SLOTS)
        found = {}
        for model in list(self._slots[slot]):
            known = self._models[model]
            last, bits = known.slots[slot]
            seen = _shifted(bits, max(0, day - last))
            if not seen:
                del known.slots[slot]
                self._slots[slot].discard(model)
                continue
            certainty = 0.0 if seen & 1 else self._certainty(seen, day - known.first)
            if certainty >= self._habits.least:
                found[model] = Guess(model=model, certainty=certainty, made=number * SLOT, until=(number + 1) * SLOT)
        return found

    def _certainty(self, seen: int, age: int) -> float:
        """The better of: each day of the last seven, the same day of the last four weeks. `age`: days it is known."""
        daily, weekly = (seen & _LAST_WEEK).bit_count(), sum(seen >> 7 * week & 1 for week in range(1, 5))
        return max(count / (chances + 1) if count >= self._habits.twice else 0.0
                   for count, chances in ((daily, min(7, max(age, daily))), (weekly, min(4, max(age // 7, weekly)))))

    def _forget(self, model: str) -> None:
        for slot in self._models.pop(model).slots:
            self._slots[slot].discard(model)
        self._guesses.pop(model, None)


def _shifted(bits: int, days: int) -> int:
    return bits << days & _MASK if days <= _DAYS else 0
