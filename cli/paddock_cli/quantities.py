"""Quantities as Kubernetes writes them: 4Gi, 512Mi, 2G."""

from __future__ import annotations

import re

_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
          "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([kKMGT]?i?)")


def parse_bytes(text: str) -> int:
    """Bytes in a quantity. Raises ValueError that says how one is written."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match.group(2) not in _UNITS:
        raise ValueError(f"{text!r} is not an amount of memory: write it like 4Gi, 512Mi or 2G")
    value = float(match.group(1)) * _UNITS[match.group(2)]
    if value < 1:
        raise ValueError(f"{text!r} is nothing: give at least one byte")
    return int(value)


def format_bytes(size: int) -> str:
    """The largest unit that leaves a number of at least one: 4Gi, 1.5Gi, 512Mi."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.1f}".removesuffix(".0") + unit
    return str(size)
