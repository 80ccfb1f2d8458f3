"""Bytes in memory while changes are tried out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from paddock_runtime.scheduler.types import Resident, Wanted


class Room:
    """Counts each context, and each set of weights once while at least one context uses it."""

    def __init__(self, residents: Iterable[Resident] = ()) -> None:
        self.used = 0
        self._contexts: Counter[str] = Counter()
        self._weights: dict[str, int] = {}
        for resident in residents:
            self.add(resident)

    def add(self, unit: Resident | Wanted) -> None:
        self.used += unit.context_bytes
        paid = self._weights.get(unit.weights, 0) if self._contexts[unit.weights] else 0
        # two contexts of one engine may be told different sizes: the larger counts
        self._weights[unit.weights] = max(paid, unit.weights_bytes)
        self.used += self._weights[unit.weights] - paid
        self._contexts[unit.weights] += 1

    def remove(self, unit: Resident | Wanted) -> None:
        self.used -= unit.context_bytes
        self._contexts[unit.weights] -= 1
        if self._contexts[unit.weights] == 0:
            self.used -= self._weights.pop(unit.weights)

    def used_with(self, want: Wanted) -> int:
        """Bytes used if `want` were added."""
        paid = self._weights.get(want.weights, 0) if self._contexts[want.weights] else 0
        return self.used + want.context_bytes + max(0, want.weights_bytes - paid)
