"""The hub's rate limits: so many requests a window, counted for API and files apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Quota:
    """`limits`: requests a window, by bucket; `window` in seconds. The clock comes from outside."""

    limits: dict[str, int] = field(default_factory=lambda: {"api": 500, "resolvers": 3000})
    window: float = 300.0
    _used: dict[str, int] = field(default_factory=dict)
    _since: float | None = None

    def count(self, bucket: str, now: float) -> tuple[bool, dict[str, str]]:
        """Whether one more request is within the limit, and the headers that say so."""
        if self._since is None or now >= self._since + self.window:
            self._since = now
            self._used = {}
        self._used[bucket] = self._used.get(bucket, 0) + 1
        limit = self.limits[bucket]
        left = max(0, limit - self._used[bucket])
        seconds = math.ceil(self._since + self.window - now)
        return self._used[bucket] <= limit, {
            "RateLimit": f'"{bucket}";r={left};t={seconds}',
            "RateLimit-Policy": f'"fixed window";"{bucket}";q={limit};w={math.ceil(self.window)}'}
