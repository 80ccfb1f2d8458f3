"""How something grows with the number of Models. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """The straight line nearest to the points. `explained`: share of their variance that it explains (R²)."""

    each: float
    fixed: float
    explained: float


def line(points: Sequence[tuple[float, float]]) -> Line | None:
    """Least squares. None for fewer than two different numbers."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / max(count, 1), sum(y for _, y in points) / max(count, 1)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return None
    each = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    fixed = mean_y - each * mean_x
    total = sum((y - mean_y) ** 2 for _, y in points)
    missed = sum((y - fixed - each * x) ** 2 for x, y in points)
    return Line(each, fixed, 1 - missed / total if total else 1.0)


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """p of the best fit y ~ x^p: 1 is linear, 2 quadratic. None if some point has no logarithm."""
    if any(x <= 0 or y <= 0 for x, y in points):
        return None
    found = line([(math.log(x), math.log(y)) for x, y in points])
    return None if found is None else found.each


def per_model(points: Sequence[tuple[float, float]]) -> float | None:
    """What one costs among the most, against what one costs among the fewest."""
    (least, first), (most, last) = min(points), max(points)
    return (last / most) / (first / least) if first and least != most else None
