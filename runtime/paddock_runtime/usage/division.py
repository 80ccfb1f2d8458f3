"""An amount divided by weight, in whole numbers, so that nothing is lost or invented. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def divide(amount: int, weights: Mapping[K, int]) -> dict[K, int]:
    """Parts that add up to `amount`, in proportion to weights of at least 0, of which one must be positive. What does
    not divide evenly goes to the largest remainders, the first of equals: nobody is off by a whole unit."""
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("nobody to divide among: give a positive weight")
    parts = {key: amount * weight // total for key, weight in weights.items()}
    rest = amount - sum(parts.values())
    for key in sorted(weights, key=lambda key: -(amount * weights[key] % total))[:rest]:
        parts[key] += 1
    return parts
