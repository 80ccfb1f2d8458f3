"""Amounts as Kubernetes writes them: 8Gi, 500M, 1.5Gi, 2e9, 8589934592."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

# RE2 and Python read it alike. The API server's own grammar, without a sign and with bounded digits.
QUANTITY_PATTERN = r"^[0-9]{1,18}([.][0-9]{1,9})?([KMGTPE]i|[numkMGTPE]|[eE][+]?[0-9]{1,2})?$"

_PARTS = re.compile(r"([0-9.]+)(?:([eE])[+]?([0-9]{1,2})|([A-Za-z]{1,2}))?", re.ASCII)
_UNITS: dict[str, Decimal] = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal("1e3"), "M": Decimal("1e6"),
    "G": Decimal("1e9"), "T": Decimal("1e12"), "P": Decimal("1e15"), "E": Decimal("1e18"),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse_quantity(amount: int | str) -> Decimal:
    """The exact amount. Raises ValueError that says how one is written."""
    text = str(amount)
    match = _PARTS.fullmatch(text) if re.fullmatch(QUANTITY_PATTERN, text, re.ASCII) else None
    if match is None or text.endswith("\n"):
        raise ValueError(f"{text!r} is not an amount; write it like 8Gi, 512Mi, 2G or 500m")
    number, exponent, power, unit = match.groups()
    if exponent:
        return Decimal(number).scaleb(int(power))
    return Decimal(number) * (_UNITS[unit] if unit else 1)


def to_bytes(amount: int | str) -> int:
    """Whole bytes, rounded up as Kubernetes does. Raises ValueError."""
    return int(parse_quantity(amount).to_integral_value(rounding="ROUND_CEILING"))


def _as_written(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be an amount, such as 8Gi, 512Mi, 2G or 500m")
    parse_quantity(value)
    return value


# Kept as it was written: 8Gi stays 8Gi, 8589934592 stays a number.
Quantity = Annotated[int | str, PlainValidator(_as_written), WithJsonSchema({
    "x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": 32, "minimum": 0})]


def positive(field: str, example: str) -> tuple[str, str]:
    """The admission rule, (CEL, message), that the amount in `field` is not 0. The pattern refuses what is none."""
    amount = f"string(self.{field})"
    return (f"!has(self.{field}) || !isQuantity({amount}) || quantity({amount}).isGreaterThan(quantity('0'))",
            f"{field}: give more than 0, such as {example}")
