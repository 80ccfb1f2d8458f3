from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.quantity import parse_quantity, to_bytes


@pytest.mark.parametrize(("text", "amount"), [
    ("0", 0), ("8589934592", 8 << 30), (8 << 30, 8 << 30), ("8Gi", 8 << 30), ("1.5Gi", 3 << 29), ("512Mi", 512 << 20),
    ("1Ki", 1024), ("2Ti", 2 << 40), ("1Pi", 1 << 50), ("1Ei", 1 << 60), ("2G", 2 * 10**9), ("3k", 3000), ("1M", 10**6),
    ("1T", 10**12), ("1P", 10**15), ("1E", 10**18), ("2e9", 2 * 10**9), ("2E3", 2000), ("1e+2", 100), ("1.5e1", 15),
    ("1.", None),
])
def test_amounts_mean_what_kubernetes_says(text: int | str, amount: int | None) -> None:
    if amount is None:
        with pytest.raises(ValueError, match="is not an amount"):
            parse_quantity(text)
    else:
        assert parse_quantity(text) == amount
        assert to_bytes(text) == amount


def test_fractions_are_exact_and_bytes_are_rounded_up() -> None:
    assert parse_quantity("500m") == Decimal("0.5")
    assert parse_quantity("0.1") * 10 == 1
    assert parse_quantity("250u") + parse_quantity("750u") == parse_quantity("1m")
    assert [to_bytes("500m"), to_bytes("1.0001Ki"), to_bytes("1n")] == [1, 1025, 1]


@pytest.mark.parametrize("text", [
    "", " ", "-1", "+1", "8 Gi", "8gi", "8GiB", "8KB", "Gi", ".5", "1_000", "1e", "1e-3", "0x10", "NaN", "inf", "1\n",
    "१", "1" * 19, "1Ki\n", "1mm", "8Gi8",
])
def test_what_is_no_amount_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 8Gi"):
        parse_quantity(text)


@given(st.integers(0, 10**12), st.sampled_from(["", "Ki", "Mi", "Gi", "k", "M", "G"]))
def test_whole_amounts_are_whole_bytes(number: int, unit: str) -> None:
    scale = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}[unit]
    assert to_bytes(f"{number}{unit}") == number * scale
