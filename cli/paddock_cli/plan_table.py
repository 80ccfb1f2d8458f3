"""A plan for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paddock_cli.quantities import format_bytes

_POLICIES = {"paddock": "paddock", "lru": "plain LRU", "priority": "priority only"}


def table(report: dict[str, Any]) -> str:
    lines = _columns(["MODEL", "WEIGHTS", "KV CACHE", "COMPUTE", "TOTAL", "COLD (EST.)", "IN MEMORY"],
                     [_model(row) for row in report["models"]])
    lines += ["", f"Of {format_bytes(report['memoryBytes'])} those in memory use {format_bytes(report['usedBytes'])}.",
              "Bytes are estimates from the files' headers. Cold times are estimates too: from the bytes of the file,",
              "the disk's pace just now, and the engine's pace as it was measured once."]
    if report["replay"]:
        lines += ["", *_columns(
            ["MEMORY", "POLICY", "LOADS", "EVICTIONS", "WAITED", "MEAN", "P50", "P95", "MAX", "REFUSED"],
            [_replay(row) for row in report["replay"]]),
            "", "Waits are seconds of virtual time from a request's arrival until it runs."]
    return "\n".join(lines)


def _model(row: dict[str, Any]) -> list[str]:
    if row["state"] == "unknown":
        return [row["name"], "?", "?", "?", "?", "?", row["reason"]]
    sizes = [format_bytes(row[name]) for name in ("weightsBytes", "cacheBytes", "computeBytes", "totalBytes")]
    return [row["name"], *sizes, f"{row['coldSecondsEstimated']:.1f}s", _place(row)]


def _place(row: dict[str, Any]) -> str:
    if row["state"] == "fits":
        return "yes, beside the others"
    if row["state"] == "evicts":
        return "instead of " + ", ".join(row["evicts"])
    return f"never: needs {format_bytes(row['neededBytes'])} of {format_bytes(row['availableBytes'])}"


def _replay(row: dict[str, Any]) -> list[str]:
    waits = [f"{row[name]:.2f}" for name in ("waitMean", "waitP50", "waitP95", "waitMax")]
    return [format_bytes(row["memoryBytes"]), _POLICIES.get(row["policy"], row["policy"]), str(row["loads"]),
            str(row["evictions"]), f"{row['waited']:.1%}", *waits, str(row["refused"])]


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[index]) for line in (head, *rows)) for index in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in (head, *rows)]
