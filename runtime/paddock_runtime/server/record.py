"""What is remembered of one request, for its log line and its metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope

from paddock_api.identity import ModelId
from paddock_runtime.jobs import Accepted, Text, Vectors
from paddock_runtime.metrics import UNKNOWN, Metrics, ModelMeters

_KEY = "paddock.record"
_GAPS = 32  # times between tokens that are kept before the histogram gets them: one at a time costs more than a token


@dataclass(kw_only=True)
class Record:
    """`model` stays "unknown" until a Model was resolved: what clients make up is no label. Times are monotonic."""

    request_id: str
    metrics: Metrics
    started: float = field(default_factory=time.monotonic)
    model: str = UNKNOWN
    revision: str | None = None
    status: int | None = None
    code: str | None = None
    _meters: ModelMeters | None = None
    _last: dict[int, float] = field(default_factory=dict)
    _gaps: list[float] = field(default_factory=list)

    def resolved(self, model: ModelId) -> None:
        self.model = str(model)
        self._meters = self.metrics.of_model(self.model)

    def accepted(self, output: Accepted) -> None:
        self.revision = output.served.revision.id
        if self._meters is not None and output.choice == 0:
            self._meters.queue_wait.observe(time.monotonic() - self.started)

    def text(self, output: Text) -> None:
        meters = self._meters
        if meters is None:
            return
        now = time.monotonic()
        last = self._last.get(output.choice)
        if last is not None:
            self._gaps.append(now - last)
            if len(self._gaps) >= _GAPS:
                self.flush()
        elif not self._last:
            meters.ttft.observe(now - self.started)
        self._last[output.choice] = now
        usage = output.delta.usage
        if usage is not None:
            meters.completion_tokens.inc(usage.completion_tokens)
            if output.choice == 0:
                meters.prompt_tokens.inc(usage.prompt_tokens)
                meters.cached_tokens.inc(usage.cached_tokens)

    def flush(self) -> None:
        """What was kept goes to the metrics."""
        if self._meters is not None:
            for gap in self._gaps:
                self._meters.token_gap.observe(gap)
        self._gaps.clear()

    def embedded(self, output: Vectors) -> None:
        self.revision = output.served.revision.id
        if self._meters is not None:
            self._meters.prompt_tokens.inc(output.tokens)


def attach(scope: Scope, record: Record) -> None:
    scope[_KEY] = record


def record_of(scope: Scope) -> Record:
    return cast(Record, scope[_KEY])
