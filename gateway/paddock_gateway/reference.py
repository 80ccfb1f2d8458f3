"""The tables of docs/gateway.md: settings, errors and metrics, from the code that they are about.

`python -m paddock_gateway.reference docs/gateway.md` writes them anew between their marks; a test fails on drift.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from paddock_api.errors import Code, PaddockError
from paddock_gateway.front.answers import retry_headers, wait_of
from paddock_gateway.metrics import Metrics
from paddock_gateway.proxy.verdict import Verdict, judge, refused
from paddock_gateway.settings import describe_settings

_BLOCK = re.compile(r"(<!-- (\w+): generated -->\n).*?(<!-- end -->)", re.DOTALL)
_DOES = {
    Verdict.FINAL: "hands it on",
    Verdict.NO_FIT: "asks the next pod; if none can: 503",
    Verdict.NEXT: "asks another pod",
    Verdict.BUSY: "asks another pod that has the Model ready, else hands it on",
    Verdict.LATER: "asks another pod, or the same after its wait, within the hold; then 503",
    Verdict.AGAIN: "sends the request once more, then hands it on",
}


def write(text: str) -> str:
    """`text` with its blocks filled. Raises KeyError for a block of an unknown name."""
    tables = {"settings": _settings, "errors": _errors, "metrics": _metrics}
    return _BLOCK.sub(lambda found: f"{found[1]}{tables[found[2]]()}{found[3]}", text)


def _settings() -> str:
    return _table(("Variable", "Default", "What for"), (
        (f"`{each.variable}`", f"`{each.default}`" if each.default else "", each.text) for each in describe_settings()))


def _errors() -> str:
    head = ("Status", "Code", "Retry-After", "x-should-retry", "From a pod, before the first content, the gateway")
    codes = sorted(Code, key=lambda code: (PaddockError(code, "").status, code))
    return _table(head, map(_error_row, codes))


def _error_row(code: Code) -> tuple[str, ...]:
    refusal = refused(PaddockError(code, ""))
    headers = dict(retry_headers(refusal))
    wait = "yes" if wait_of(refusal) is not None else ""
    again = "no" if b"x-should-retry" in headers else ""
    return str(refusal.status), f"`{code.value}`", wait, again, _DOES[judge(refusal.status, code.value)]


def _metrics() -> str:
    rows = []
    for family in Metrics().families():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append((f"`{family.name}`", family.kind, labels, family.text))
    return _table(("Metric", "Kind", "Labels", "What"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    path = Path(sys.argv[1])
    path.write_text(write(path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
