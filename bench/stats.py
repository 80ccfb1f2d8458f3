"""The arithmetic of the report. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear interpolation between the closest ranks; `percent` in 0…100. Raises ValueError on no values."""
    if not values:
        raise ValueError("a percentile of no values")
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = math.floor(position)
    high = math.ceil(position)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def geometric_mean(values: Sequence[float]) -> float:
    return statistics.geometric_mean(values)


def rounded(value: float, digits: int = 4) -> float:
    """To `digits` significant digits: what a run of a few seconds can tell at most."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))
