"""What holds for a whole pool and changes without a restart: written by the operator, read by its pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PRELOAD = "predictivePreloadPercent"
_SHARE = "shareAcrossNamespaces"


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """`preload_percent`: of the memory budget, for what is loaded on guesses; 0 is off. `share_across_namespaces`:
    Models of several namespaces on one file use one copy of its weights."""

    preload_percent: int = 0
    share_across_namespaces: bool = False

    def document(self) -> dict[str, Any]:
        """Only what is not as it would be anyway: a pool that uses none of this keeps its configuration's hash."""
        found: dict[str, Any] = {}
        if self.preload_percent:
            found[_PRELOAD] = self.preload_percent
        if self.share_across_namespaces:
            found[_SHARE] = True
        return found


def read_settings(document: Mapping[str, Any]) -> PoolSettings:
    """What this version knows of it; the rest, and what makes no sense, is let go by."""
    percent = document.get(_PRELOAD)
    good = isinstance(percent, int) and not isinstance(percent, bool) and 0 < percent <= 100
    return PoolSettings(preload_percent=percent if good and isinstance(percent, int) else 0,
                        share_across_namespaces=document.get(_SHARE) is True)
