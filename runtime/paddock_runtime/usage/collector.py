"""Usage as Prometheus series, by Model and namespace only: there may be any number of tenants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from paddock_api.identity import ModelId
from paddock_api.usage import PodUsage
from paddock_runtime.usage.ledger import Totals

_LABELS = ["namespace", "model"]


class Guesses(Protocol):
    """Loads on a guess, and those used before they left."""

    @property
    def loads(self) -> int: ...

    @property
    def hits(self) -> int: ...


class UsageSource(Protocol):
    async def usage(self) -> PodUsage: ...

    def usage_of_models(self) -> tuple[Mapping[ModelId, Totals], Totals]:
        """Totals by Model, and what is nobody's."""
        ...

    def guesses(self) -> Guesses: ...


class UsageCollector(Collector):
    """Read when it is scraped. Tokens and requests by Model have their counters already (metrics.py)."""

    def __init__(self, source: UsageSource) -> None:
        self._source = source

    def describe(self) -> list[Metric]:
        return [*_usage(), *_guesses()]

    def collect(self) -> Iterator[Metric]:
        memory, busy, unattributed = _usage()
        models, nobody = self._source.usage_of_models()
        for model, totals in models.items():
            labels = [model.namespace, str(model)]
            memory.add_metric(labels, totals.memory)
            busy.add_metric(labels, totals.busy / 1e6)
        unattributed.add_metric([], nobody.memory)
        loads, hits, rate = _guesses()
        record = self._source.guesses()
        loads.add_metric([], record.loads)
        hits.add_metric([], record.hits)
        if record.loads:
            rate.add_metric([], record.hits / record.loads)
        yield from (memory, busy, unattributed, loads, hits, rate)


def _usage() -> tuple[CounterMetricFamily, CounterMetricFamily, CounterMetricFamily]:
    return (
        CounterMetricFamily("paddock_usage_memory_byte_seconds", "Measured memory over time, in shares.",
                            labels=_LABELS),
        CounterMetricFamily("paddock_usage_busy_seconds", "Engine time, divided among the requests in it.",
                            labels=_LABELS),
        CounterMetricFamily("paddock_usage_unattributed_memory_byte_seconds",
                            "Memory that no Model uses: the pod's own processes, what was loaded on a guess."))


def _guesses() -> tuple[CounterMetricFamily, CounterMetricFamily, GaugeMetricFamily]:
    return (
        CounterMetricFamily("paddock_predicted_loads", "Loads on a guess that a Model would be asked soon."),
        CounterMetricFamily("paddock_predicted_load_hits", "Of these, what was used before it left."),
        GaugeMetricFamily("paddock_predicted_load_hit_ratio", "Hits of all loads on a guess, 0 to 1."))
