"""Canonical JSON and the hashes made of it: equal content gives equal bytes, in every process and release."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, ASCII only; 1.0 is written 1 and -0.0 is written 0, as YAML's readers differ there.

    Raises ValueError for NaN and infinity, TypeError for what is not JSON."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True,
                      allow_nan=False).encode("ascii")


def short_hash(value: Any) -> str:
    """The first 16 hex digits of the sha256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value  # most values are text, and asking for a Mapping is slow
    if isinstance(value, dict | Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value
