"""How often and how fast a download is tried again. Pure: the dice come from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paddock_runtime.store.answers import Passing


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Seconds and counts. `stall_seconds` is how long a server may take for the next 16 KiB (or for its answer)."""

    stall_seconds: float = 30.0
    fruitless: int = 5  # tries in a row that bring no byte
    total: int = 100  # tries in one `ensure`, whatever they bring
    first_pause: float = 0.5
    longest_pause: float = 30.0
    longest_retry_after: float = 120.0  # a server that asks for more is given up on for now


@dataclass
class Retries:
    """The budget of one download."""

    policy: RetryPolicy
    dice: Callable[[], float]
    tries: int = 0
    fruitless: int = 0

    def pause(self, fault: Passing, *, gained: bool) -> float | None:
        """Seconds to wait before the next try; None: give up. `gained` says whether the last try brought bytes."""
        self.tries += 1
        self.fruitless = 0 if gained else self.fruitless + 1
        asked = fault.retry_after or 0.0
        spent = self.tries >= self.policy.total or self.fruitless >= self.policy.fruitless
        if spent or asked > self.policy.longest_retry_after:
            return None
        ceiling = min(self.policy.longest_pause, self.policy.first_pause * 2.0 ** self.fruitless)
        # Between half and all of it: many waiters of one server must not come back together.
        return asked + ceiling * (0.5 + 0.5 * self.dice())
