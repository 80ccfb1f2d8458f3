"""Prometheus metrics of a pod. Labels hold only names of Models that exist: what clients make up is "unknown"."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from paddock_api.events import Event, EventType
from paddock_api.state import Phase, Pressure
from paddock_runtime.jobs import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNKNOWN = "unknown"
_LEVELS = (Pressure.OK, Pressure.HIGH, Pressure.CRITICAL)

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 5, 30)


@dataclass(frozen=True)
class ModelMeters:
    """The request metrics of one Model, with its label bound."""

    ttft: Histogram
    token_gap: Histogram
    queue_wait: Histogram
    prompt_tokens: Counter
    cached_tokens: Counter
    completion_tokens: Counter


class Metrics:
    """Fed by the request path (`request`, `of_model`) and by the bus (`on_event`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("paddock_requests", "Requests by Model, endpoint and HTTP status.",
                                 ["model", "endpoint", "code"], registry=self.registry)
        self._ttft = self._histogram("time_to_first_token", "From request to first text.", _SECONDS)
        self._gap = self._histogram("inter_token", "Between two deltas of one choice.", _TOKEN_SECONDS)
        self._wait = self._histogram("queue_wait", "From request to its place in the engine, with loading.", _SECONDS)
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts and embedding inputs.")
        self._cached = self._counter("cached_tokens", "Prompt tokens that needed no computing.")
        self._completion = self._counter("completion_tokens", "Tokens generated.")
        self._loads = self._counter("loads", "Loads that became Ready.")
        self._load_seconds = self._histogram("load", "From Loading to Ready.", _SECONDS)
        self._unloads = self._counter("unloads", "Models that left memory.", "reason")
        self._failures = self._counter("failures", "Models that became Failed.", "reason")
        self._refusals = self._counter("refusals", "Requests refused by the lifecycle.", "code")
        self._crashes = Counter("paddock_engine_ends", "Engine processes that ended, by reason.", ["reason"],
                                registry=self.registry)
        self._phase = Gauge("paddock_model_phase", "1 for the phase that a Model is in; Absent has no series.",
                            ["model", "phase"], registry=self.registry)
        self._memory = Gauge("paddock_memory_bytes", "Memory of the engines: charged, measured (PSS), budget.",
                             ["kind"], registry=self.registry)
        self._pressure = Gauge("paddock_memory_pressure", "How near memory is to its limits: 0 ok, 1 high, 2 critical.",
                               registry=self.registry)
        self._meters: dict[str, ModelMeters] = {}
        self._phases: dict[str, str] = {}
        self._loading_since: dict[str, float] = {}

    def request(self, model: str, endpoint: str, code: int) -> None:
        self._requests.labels(model, endpoint, str(code)).inc()

    def of_model(self, model: str) -> ModelMeters:
        """`model` must be the name of a Model that was resolved."""
        meters = self._meters.get(model)
        if meters is None:
            meters = ModelMeters(self._ttft.labels(model), self._gap.labels(model), self._wait.labels(model),
                                 self._prompt.labels(model), self._cached.labels(model),
                                 self._completion.labels(model))
            self._meters[model] = meters
        return meters

    def on_event(self, event: Event) -> None:
        """A listener of the bus. `model` of an event is always one that exists."""
        data = event.data
        if event.type is EventType.PHASE and event.model is not None:
            self._moved(event.model, str(data.get("to")), str(data.get("reason") or "none"), event.time)
        elif event.type is EventType.ENGINE_ENDED:
            self._crashes.labels(str(data.get("reason") or data.get("code") or "none")).inc()
        elif event.type is EventType.REQUEST_REFUSED:
            self._refusals.labels(event.model or UNKNOWN, str(data.get("code"))).inc()
        elif event.type is EventType.PRESSURE:
            self._pressure.set(_LEVELS.index(Pressure(data["to"])))
        elif event.type is EventType.MEMORY:
            for kind in ("charged", "measured", "budget"):
                self._set_memory(kind, data.get(f"{kind}_bytes"))

    def render(self, service: Service) -> bytes:
        """All series as text, with the gauges of this moment."""
        memory = service.state().memory
        self._set_memory("charged", memory.charged_bytes)
        self._set_memory("measured", memory.measured_bytes)
        self._set_memory("budget", memory.budget_bytes)
        return generate_latest(self.registry)

    def _moved(self, model: str, to: str, reason: str, now: float) -> None:
        before = self._phases.pop(model, None)
        if before is not None:
            self._phase.remove(model, before)
        if to == Phase.ABSENT:  # as before its first phase; else whoever was removed would have one for ever
            self._loading_since.pop(model, None)
            return
        self._phase.labels(model, to).set(1)
        self._phases[model] = to
        if to == Phase.LOADING:
            self._loading_since[model] = now
        elif to == Phase.READY and (since := self._loading_since.pop(model, None)) is not None:
            self._loads.labels(model).inc()
            self._load_seconds.labels(model).observe(max(0.0, now - since))
        elif to == Phase.UNLOADING:
            self._unloads.labels(model, reason).inc()
        elif to == Phase.FAILED:
            self._failures.labels(model, reason).inc()

    def _set_memory(self, kind: str, value: object) -> None:
        if isinstance(value, int | float):
            self._memory.labels(kind).set(value)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"paddock_{name}", text, ["model", *labels], registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"paddock_{name}_seconds", text, ["model"], buckets=buckets, registry=self.registry)
