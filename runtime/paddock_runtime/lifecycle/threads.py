"""Cores for the busy children. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def divide(cores: int, busy: Iterable[str]) -> dict[str, int]:
    """Threads of each busy engine, at least 1. The remainder goes to the first by name: a stable division."""
    names = sorted(busy)
    if not names:
        return {}
    share, rest = divmod(max(cores, len(names)), len(names))
    return {name: share + (position < rest) for position, name in enumerate(names)}
