"""How long a server wants to be left alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 3600.0  # a server that says more is asked again all the same
UNTOLD_SECONDS = 60.0  # a 429 that does not say for how long
_LIMIT = re.compile(r';\s*r\s*=\s*(\d{1,9})(?!\d)\s*;\s*t\s*=\s*(\d{1,9})(?!\d)', re.ASCII)
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)


def pause(status: int, headers: Mapping[str, str], now: float) -> float | None:
    """Seconds in which the same quota must not be asked again; None: go on. `now`: seconds since 1970.

    A `RateLimit` with nothing left counts on any answer and comes before `Retry-After`, which counts on a 429."""
    left = _LIMIT.findall(headers.get("ratelimit", ""))
    if (empty := [float(seconds) for remaining, seconds in left if int(remaining) == 0]):
        return min(max(empty) + 1.0, LONGEST_SECONDS)  # one more, since they round
    if status != 429:
        return None
    asked = retry_after(headers, now)
    return min(UNTOLD_SECONDS if asked is None else asked + 1.0, LONGEST_SECONDS)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """What `Retry-After` asks for in seconds, given as such or as a date."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_SECONDS)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - now), LONGEST_SECONDS)
    except (ValueError, OverflowError):
        return None
