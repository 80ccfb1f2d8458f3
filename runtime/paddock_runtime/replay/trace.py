"""A recorded usage: which Models there are, what they take, and who asked for them when.

JSON lines. A line with `time` is a request, one without describes a Model; docs/plan.md has the fields. Order does not
matter. Models may come from elsewhere (`paddock plan` takes their sizes from the manifests).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

# what a token takes when a request gives tokens and no seconds, unless its Model says else
PREFILL_TOKENS_PER_SECOND = 300.0
DECODE_TOKENS_PER_SECOND = 20.0


class TraceError(ValueError):
    """A line that can't be used: its number, the field and the remedy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A Model as the scheduler sees it: bytes and seconds. `key` names its context, `weights` its engine; who agrees in
    one shares it. `parallel` requests run at once."""

    key: str
    weights: str
    weights_bytes: int
    context_bytes: int
    load_seconds: float
    parallel: int = 16
    priority: int = 0
    min_residency: float = 10.0
    idle_timeout: float = 600.0
    pinned: bool = False
    kept: bool = False
    prefill_rate: float = PREFILL_TOKENS_PER_SECOND
    decode_rate: float = DECODE_TOKENS_PER_SECOND

    @property
    def bytes(self) -> int:
        return self.weights_bytes + self.context_bytes


@dataclass(frozen=True, slots=True)
class Request:
    """`time` in seconds; `model` is the key of one; `service` is how long it keeps a place in its engine."""

    time: float
    model: str
    service: float


@dataclass(frozen=True, slots=True)
class Trace:
    """`models` by the names that they go by in the file; `requests` in order of time."""

    models: Mapping[str, Candidate]
    requests: tuple[Request, ...]


def parse_trace(lines: Iterable[str], models: Mapping[str, Candidate] | None = None) -> Trace:
    """`models` are known already; a line about one of them changes only what it names. Raises TraceError."""
    known = dict(models or {})
    asked: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _record(number, line)
        if "time" in record:
            asked.append((number, record))
        else:
            known[record["model"]] = _model(number, record, known.get(record["model"]))
    requests = [_request(number, record, known) for number, record in asked]
    if not requests:
        raise TraceError("it holds no request: a line like {\"time\": 0, \"model\": \"a\", \"seconds\": 2} is one")
    start = min(request.time for request in requests)
    moved = sorted((replace(request, time=request.time - start) for request in requests), key=lambda each: each.time)
    return Trace(known, tuple(moved))


def _record(number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise TraceError(f"line {number} is not JSON ({error}): write one object a line") from None
    if not isinstance(record, dict) or not isinstance(record.get("model"), str):
        raise TraceError(f"line {number}: model is missing: name the Model that the line is about")
    return record


def _model(number: int, record: dict[str, Any], known: Candidate | None) -> Candidate:
    key = record["model"]
    if known is None:
        for field in ("weightsBytes", "loadSeconds"):
            if field not in record:
                raise TraceError(f"line {number}: {field} is missing: no manifest says it of {key!r}")
        known = Candidate(key=key, weights=key, weights_bytes=0, context_bytes=0, load_seconds=0.0)
    priority = record.get("priority", known.priority)
    if not isinstance(priority, int):
        raise TraceError(f"line {number}: priority is not a whole number: {priority!r}")

    def number_of(field: str, default: float, least: float = 0.0) -> float:
        return _number(number, record, field, default, least)

    return replace(
        known, priority=priority,
        weights_bytes=int(number_of("weightsBytes", known.weights_bytes)),
        context_bytes=int(number_of("contextBytes", known.context_bytes)),
        load_seconds=number_of("loadSeconds", known.load_seconds),
        parallel=int(number_of("parallel", known.parallel, 1)),
        min_residency=number_of("minResidencySeconds", known.min_residency),
        idle_timeout=number_of("idleTimeoutSeconds", known.idle_timeout),
        prefill_rate=number_of("prefillTokensPerSecond", known.prefill_rate, 1e-3),
        decode_rate=number_of("decodeTokensPerSecond", known.decode_rate, 1e-3))


def _request(number: int, record: dict[str, Any], models: Mapping[str, Candidate]) -> Request:
    model = models.get(record["model"])
    if model is None:
        raise TraceError(f"line {number}: there is no Model {record['model']!r}: add its manifest, or a line with its "
                         "weightsBytes and loadSeconds")
    tokens = (_number(number, record, "promptTokens", 0.0) / model.prefill_rate
              + _number(number, record, "completionTokens", 0.0) / model.decode_rate)
    if not {"seconds", "promptTokens", "completionTokens"} & record.keys():
        raise TraceError(f"line {number}: give seconds, or promptTokens and completionTokens")
    return Request(_time(number, record["time"]), model.key, _number(number, record, "seconds", tokens))


def _time(number: int, value: Any) -> float:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            raise TraceError(f"line {number}: time {value[:40]!r} is no time: write seconds, or 2026-11-25T08:00:00Z"
                             ) from None
    return _number(number, {"time": value}, "time", 0.0, -math.inf)


def _number(number: int, record: dict[str, Any], field: str, default: float, least: float = 0.0) -> float:
    value = record.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise TraceError(f"line {number}: {field} is not a number of at least {least:g}: {value!r}")
    return float(value)
