"""`paddock usage`: a table whose lines add up, and errors that say what to do."""

from __future__ import annotations

import pytest

from paddock_api.usage import Amounts, Entry, ModelUsage, NamespaceUsage, PodUsage, TenantUsage
from paddock_cli.__main__ import build_parser, main
from paddock_cli.usage import table

USED = {"memory_byte_seconds": 3600 << 30, "busy_microseconds": 1_500_000, "requests": 2, "prompt_tokens": 30,
        "cached_tokens": 10, "completion_tokens": 7}
NOBODY = {"memory_byte_seconds": 1800 << 30}
USAGE = PodUsage(
    pod="p", since=0.0, until=10.0, unattributed=Amounts(**NOBODY),
    total=Amounts(**{**USED, "memory_byte_seconds": 5400 << 30}),
    models=[ModelUsage(namespace="n", model="gemma", **USED)], namespaces=[NamespaceUsage(namespace="n", **USED)],
    tenants=[TenantUsage(tenant="", **USED)], entries=[Entry(namespace="n", model="gemma", tenant="x\x1b[2J", **USED)])


def test_a_table_with_what_is_nobody_s_and_the_total() -> None:
    lines = [line.split() for line in table(USAGE, by="model").splitlines()]
    assert lines == [
        ["MODEL", "GiB-hours", "busy", "s", "requests", "prompt", "cached", "completion"],
        ["n/gemma", "1.0000", "1.50", "2", "30", "10", "7"],
        ["unattributed", "0.5000", "0.00", "0", "0", "0", "0"],
        ["total", "1.5000", "1.50", "2", "30", "10", "7"]]


@pytest.mark.parametrize(("by", "name"), [
    ("tenant", "(nobody)"), ("namespace", "n"), ("entry", "n/gemma x?[2J")])
def test_by_whom(by: str, name: str) -> None:
    assert table(USAGE, by=by).splitlines()[1].startswith(f"{name}  ")


def test_without_a_server_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--server", "http://127.0.0.1:1"]) == 1
    assert "paddock serve" in capsys.readouterr().err


def test_serve_predicts_only_when_asked_to() -> None:
    assert not build_parser().parse_args(["serve", "d"]).predict
    assert build_parser().parse_args(["serve", "d", "--predict"]).predict
