"""Prometheus metrics of a gateway. Labels hold only names of Models that exist: what clients make up is "unknown"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics import MetricWrapperBase

from paddock_api.identity import ModelId
from paddock_gateway.fleet.snapshot import Snapshot
from paddock_gateway.proxy.traffic import Use
from paddock_gateway.proxy.verdict import Verdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNKNOWN = "unknown"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Watched(Protocol):
    """A watch of the API server, as far as metrics tell of it."""

    connected: bool
    lists: int

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """What is true now, read when somebody asks."""

    uses: Mapping[ModelId, Use]
    snapshot: Snapshot
    watches: Iterable[Watched]
    body_bytes: int
    connections: int


class Family(NamedTuple):
    """One metric, for the documentation."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families: list[Family] = []
        self._of_model: list[MetricWrapperBase] = []
        self._models: set[str] = set()
        self._requests = self._model_counter("requests", "Requests by Model, endpoint and HTTP status.", "endpoint",
                                             "code")
        self._seconds = self._model_histogram("request", "From a request's head to the end of its answer.", "endpoint")
        self._first = self._model_histogram("first_content", "From a request's head to the first content.")
        self._refusals = self._model_counter("pod_refusals", "Answers of pods that were refusals, by what they meant.",
                                             "verdict")
        self._retries = self._model_counter("retries", "Requests sent again since work was lost.")
        self._auth = self._auth_counter()
        self._waiting = self._model_gauge("waiting", "Requests without an answer yet.")
        self._answering = self._model_gauge("answering", "Requests whose answer has begun and not ended.")
        self._pods = self._gauge("pods", "Pods that EndpointSlices name, by pool and state.", "pool", "state")
        self._watch = self._gauge("watch_connected", "1 while the API server answers.", "kind")
        self._lists = self._gauge("watch_lists", "Complete lists taken since the start.", "kind")
        self._known = self._gauge("models", "Models that are known.")
        self._bodies = self._gauge("body_bytes", "Bytes of requests that come in or wait.")
        self._connections = self._gauge("connections", "Connections of clients.")

    # --- the request path; `model` is the name of one that was resolved, or UNKNOWN

    def request(self, model: str, endpoint: str, code: int, seconds: float) -> None:
        self._models.add(model)
        self._requests.labels(model, endpoint, str(code)).inc()
        self._seconds.labels(model, endpoint).observe(seconds)

    def first_content(self, model: str, seconds: float) -> None:
        self._models.add(model)
        self._first.labels(model).observe(seconds)

    def refused(self, model: str, verdict: Verdict) -> None:
        self._models.add(model)
        self._refusals.labels(model, verdict.value).inc()

    def retried(self, model: str) -> None:
        self._models.add(model)
        self._retries.labels(model).inc()

    def unauthorised(self) -> None:
        self._auth.inc()

    # --- the rest

    def forget(self, known: Iterable[ModelId]) -> None:
        """Models that are gone take their series along."""
        names = {str(model) for model in known} | {UNKNOWN}
        for gone in self._models - names:
            for metric in self._of_model:
                metric.remove_by_labels({"model": gone})
            self._models.discard(gone)

    def render(self, gauges: Gauges) -> bytes:
        """All series as text, with the gauges of this moment."""
        for gauge in (self._waiting, self._answering, self._pods):
            gauge.clear()
        for model, use in gauges.uses.items():
            self._waiting.labels(str(model)).set(use.waiting)
            self._answering.labels(str(model)).set(use.answering)
        for pool, pods in gauges.snapshot.pods.items():
            draining = sum(pod.draining for pod in pods)
            self._pods.labels(str(pool), "draining").set(draining)
            self._pods.labels(str(pool), "serving").set(len(pods) - draining)
        for pool, silent in gauges.snapshot.silent.items():
            self._pods.labels(str(pool), "silent").set(silent)
        for watch in gauges.watches:
            self._watch.labels(watch.kind).set(watch.connected)
            self._lists.labels(watch.kind).set(watch.lists)
        self._known.set(len(gauges.snapshot.models))
        self._bodies.set(gauges.body_bytes)
        self._connections.set(gauges.connections)
        return generate_latest(self.registry)

    def families(self) -> list[Family]:
        return list(self._families)

    def _auth_counter(self) -> Counter:
        self._note("auth_failures_total", "counter", "Requests without a valid API key.")
        return Counter("paddock_gateway_auth_failures", "Requests without a valid API key.", registry=self.registry)

    def _note(self, name: str, kind: str, text: str, *labels: str) -> None:
        self._families.append(Family(f"paddock_gateway_{name}", kind, labels, text))

    def _model_counter(self, name: str, text: str, *labels: str) -> Counter:
        self._note(f"{name}_total", "counter", text, "model", *labels)
        counter = Counter(f"paddock_gateway_{name}", text, ["model", *labels], registry=self.registry)
        self._of_model.append(counter)
        return counter

    def _model_histogram(self, name: str, text: str, *labels: str) -> Histogram:
        self._note(f"{name}_seconds", "histogram", text, "model", *labels)
        histogram = Histogram(f"paddock_gateway_{name}_seconds", text, ["model", *labels], buckets=_SECONDS,
                              registry=self.registry)
        self._of_model.append(histogram)
        return histogram

    def _model_gauge(self, name: str, text: str) -> Gauge:
        return self._gauge(name, text, "model")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self._note(name, "gauge", text, *labels)
        return Gauge(f"paddock_gateway_{name}", text, list(labels), registry=self.registry)
