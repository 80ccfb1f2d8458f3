"""What all followed pods report, by pool and by Model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from paddock_api.identity import ModelId
from paddock_api.state import ModelState, PodState
from paddock_operator.clock import Clock, monotonic
from paddock_operator.pods.follow import PodRef
from paddock_operator.pods.view import Change, Left, PodView
from paddock_operator.store import Key


@dataclass(frozen=True)
class PodReport:
    """What one pod says of one Model; `state` is None if it says nothing of it. `left`: how it was unloaded last."""

    pod: str
    config_hash: str
    state: ModelState | None
    left: Left | None = None


@dataclass(frozen=True)
class ModelReports:
    """Of all pods of a pool that report. `pending`: others may still do so, hence silence means nothing yet."""

    pods: tuple[PodReport, ...] = ()
    pending: bool = False


class Listener(Protocol):
    def __call__(self, pod: PodRef, models: Collection[ModelId] | None, pod_changed: bool) -> None:
        """`models` is None when the pod began or ceased to report."""
        ...


class Reports:
    """`grace`: seconds that a pod gets to report, at first or again, before its silence means anything."""

    def __init__(self, listener: Listener, *, grace: float = 10.0, clock: Clock = monotonic) -> None:
        self.grace = grace
        self._listener = listener
        self._clock = clock
        self._views: dict[Key, dict[PodRef, PodView]] = {}
        self._silent_since: dict[Key, dict[PodRef, float]] = {}

    def expect(self, pod: PodRef) -> None:
        """The pod is followed from now on."""
        self._silent_since.setdefault(pod.pool, {})[pod] = self._clock()

    def reported(self, pod: PodRef, view: PodView, change: Change) -> None:
        new = self._silent_since.get(pod.pool, {}).pop(pod, None) is not None
        self._views.setdefault(pod.pool, {})[pod] = view
        self._listener(pod, None if new else change.models, change.pod)

    def silent(self, pod: PodRef, why: str) -> None:
        """The pod can't be followed at the moment: what it said does not count any more."""
        view = self._drop(pod)
        if view is not None:
            self._silent_since.setdefault(pod.pool, {})[pod] = self._clock()
            self._listener(pod, None, True)

    def forget(self, pod: PodRef) -> None:
        """The pod is gone."""
        self._drop(pod)
        waiting = self._silent_since.get(pod.pool, {})
        waiting.pop(pod, None)
        if not waiting:
            self._silent_since.pop(pod.pool, None)
        self._listener(pod, None, True)

    def clear(self) -> None:
        """Nobody is followed any more: another process leads."""
        self._views.clear()
        self._silent_since.clear()

    def pending(self, pool: Key) -> bool:
        """Whether a pod of the pool may still report."""
        now = self._clock()
        return any(now < since + self.grace for since in self._silent_since.get(pool, {}).values())

    def states(self, pool: Key) -> dict[str, PodState]:
        """Of the pods that report, by name; without their Models."""
        return {pod.name: view.state for pod, view in self._views.get(pool, {}).items()}

    def models(self, pool: Key) -> dict[str, Mapping[ModelId, ModelState]]:
        """What the pods that report say of their Models, by the pod's name."""
        return {pod.name: view.models for pod, view in self._views.get(pool, {}).items()}

    def of(self, model: ModelId, pool: Key) -> ModelReports:
        """One report for each pod of the pool that reports at all, in order of their names."""
        pods = tuple(PodReport(pod.name, view.state.config_hash, view.models.get(model), view.left.get(model))
                     for pod, view in sorted(self._views.get(pool, {}).items(), key=lambda item: item[0].name))
        return ModelReports(pods, self.pending(pool))

    def _drop(self, pod: PodRef) -> PodView | None:
        views = self._views.get(pod.pool, {})
        view = views.pop(pod, None)
        if not views:
            self._views.pop(pod.pool, None)
        return view
