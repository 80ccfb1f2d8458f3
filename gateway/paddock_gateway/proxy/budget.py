"""How often work that was lost may be done again: once a request, and a share of all requests. Pure."""

from __future__ import annotations

_SHARE = 0.2
_MOST = 10.0
RETRIES_PER_REQUEST = 1


class RetryBudget:
    """Each request adds a share of a retry, each retry takes one: when all fails, retries don't double the load."""

    def __init__(self, *, share: float = _SHARE, most: float = _MOST) -> None:
        self._share, self._most, self._left = share, most, most

    def request(self) -> None:
        self._left = min(self._most, self._left + self._share)

    def take(self) -> bool:
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
