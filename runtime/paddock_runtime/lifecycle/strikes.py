"""Requests that were there when an engine died. Bounded in number and in time."""

from __future__ import annotations

from collections import OrderedDict


class Strikes:
    """Counts by fingerprint; the least recently struck are forgotten first. Times are monotonic seconds."""

    def __init__(self, *, entries: int, seconds: float) -> None:
        self._entries, self._seconds = entries, seconds
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def strike(self, fingerprint: str, now: float) -> int:
        """One more for this request. Returns how many it has now."""
        count = self.count(fingerprint, now) + 1
        self._counts[fingerprint] = (count, now)
        self._counts.move_to_end(fingerprint)
        while len(self._counts) > self._entries:
            self._counts.popitem(last=False)
        return count

    def count(self, fingerprint: str, now: float) -> int:
        count, at = self._counts.get(fingerprint, (0, now))
        if count and now - at > self._seconds:
            del self._counts[fingerprint]
            return 0
        return count

    def forgive(self, fingerprint: str) -> None:
        """It ran and nothing happened."""
        self._counts.pop(fingerprint, None)

    def __len__(self) -> int:
        return len(self._counts)
