"""The operator's metrics. Labels have few values: kinds, verbs, outcomes; never names of objects."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sized
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class Waiting(Protocol):
    @property
    def waiting(self) -> int: ...


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._writes = Counter("paddock_operator_writes", "Writes to the API server, by what became of them.",
                               ["verb", "kind", "outcome"], registry=self.registry)
        self._reconciles = Counter("paddock_operator_reconciles", "Passes over one object.", ["queue", "outcome"],
                                   registry=self.registry)
        self._seconds = Histogram("paddock_operator_reconcile_seconds", "Time of one pass.", ["queue"],
                                  buckets=_SECONDS, registry=self.registry)
        self._waiting = Gauge("paddock_operator_waiting", "Objects that wait for a pass.", ["queue"],
                              registry=self.registry)
        self._objects = Gauge("paddock_operator_objects", "Objects known.", ["kind"], registry=self.registry)
        self._leader = Gauge("paddock_operator_leader", "1 in the process that leads.", registry=self.registry)

    def wrote(self, verb: str, kind: str, outcome: str) -> None:
        self._writes.labels(verb, kind, outcome).inc()

    def leads(self, value: Callable[[], float]) -> None:
        self._leader.set_function(value)

    def queues(self, queues: Mapping[str, Waiting]) -> None:
        """Counted at each scrape."""
        for name, queue in queues.items():
            self._waiting.labels(name).set_function(partial(getattr, queue, "waiting"))

    def objects(self, stores: Mapping[str, Sized]) -> None:
        """Counted at each scrape."""
        for kind, store in stores.items():
            self._objects.labels(kind).set_function(partial(len, store))

    def queue(self, name: str) -> QueueMetrics:
        return QueueMetrics(name, self._reconciles, self._seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)


class QueueMetrics:
    """What one queue tells of its passes."""

    def __init__(self, name: str, reconciles: Counter, seconds: Histogram) -> None:
        self._name = name
        self._reconciles = reconciles
        self._seconds = seconds.labels(name)

    def reconciled(self, key: Hashable, outcome: str, seconds: float) -> None:
        self._reconciles.labels(self._name, outcome).inc()
        self._seconds.observe(seconds)
