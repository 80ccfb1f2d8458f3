"""Bytes in memory while changes are tried out."""

from __future__ import annotations

from collections.abc import Iterable

from paddock_runtime.scheduler.types import Resident, Wanted


class Room:
    """Counts each context, and each set of weights once while at least one context uses it."""

    def __init__(self, residents: Iterable[Resident] = ()) -> None:
        self.used = 0
        self._contexts: dict[str, int] = {}
        self._weights: dict[str, int] = {}
        for resident in residents:
            self.add(resident)

    def copy(self) -> Room:
        room = Room()
        room.used, room._contexts, room._weights = self.used, self._contexts.copy(), self._weights.copy()
        return room

    def add(self, unit: Resident | Wanted) -> None:
        weights = unit.weights
        paid = self._weights.get(weights, 0)
        # two contexts of one engine may be told different sizes: the larger counts
        due = max(paid, unit.weights_bytes)
        self._weights[weights] = due
        self.used += unit.context_bytes + due - paid
        self._contexts[weights] = self._contexts.get(weights, 0) + 1

    def remove(self, unit: Resident | Wanted) -> None:
        self.used -= unit.context_bytes
        self._contexts[unit.weights] -= 1
        if self._contexts[unit.weights] == 0:
            del self._contexts[unit.weights]
            self.used -= self._weights.pop(unit.weights)

    def used_with(self, want: Wanted) -> int:
        """Bytes used if `want` were added."""
        paid = self._weights.get(want.weights, 0)
        return self.used + want.context_bytes + max(0, want.weights_bytes - paid)
