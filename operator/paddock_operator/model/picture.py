"""What the pods' reports say of one Model, taken together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from paddock_api.errors import PERMANENT
from paddock_api.state import Failure, ModelState, Phase
from paddock_api.status import ReplicaStatus
from paddock_operator.pods.reports import ModelReports, PodReport

_COUNTED = {
    Phase.FETCHING: "fetching", Phase.CACHED: "cached", Phase.LOADING: "loading", Phase.READY: "ready",
    Phase.DRAINING: "draining", Phase.UNLOADING: "draining", Phase.FAILED: "failed",
}
_PERMANENT = frozenset(code.value for code in PERMANENT)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """`reporting` pods, and what they do. `active`: the revision that answers. `proven`: the wanted one is loaded.
    `fault`: why it never will be; `trouble`: why it is not now. Bytes are those of the largest replica."""

    reporting: int = 0
    pending: bool = False
    replicas: ReplicaStatus = field(default_factory=ReplicaStatus)
    active: str | None = None
    proven: bool = False
    fault: Failure | None = None
    trouble: Failure | None = None
    left: str | None = None
    estimated: int | None = None
    measured: int | None = None
    digest: str | None = None
    file_bytes: int | None = None
    last_used: float | None = None


def picture(reports: ModelReports, wanted: str | None, knows: Callable[[str], bool]) -> Picture:
    """`wanted` is the revision wanted. `knows(hash)`: whether a pod with that configuration was told of just this one;
    a failure that another revision had is none of it."""
    states = [report.state for report in reports.pods if report.state is not None]
    ready = [state for state in states if state.phase is Phase.READY]
    proven = any(state.revision == wanted for state in ready)
    failures = [report.state.failure for report in reports.pods
                if report.state is not None and report.state.failure is not None and _of(report, wanted, knows)]
    faults = [failure for failure in failures if failure.reason in _PERMANENT]
    lasting = next(iter(sorted(faults, key=lambda failure: failure.at)), None) if not proven else None
    return Picture(
        reporting=len(reports.pods), pending=reports.pending, replicas=_replicas(states), active=_active(ready, wanted),
        proven=proven, fault=lasting, trouble=max(failures, key=lambda failure: failure.at, default=None),
        left=_left(reports.pods),
        estimated=_largest(state.estimated_bytes for state in states),
        measured=_largest(state.measured_bytes for state in ready),
        digest=next((state.digest for state in states if state.digest and state.revision == wanted), None),
        file_bytes=next((state.file_bytes for state in states if state.file_bytes and state.revision == wanted), None),
        last_used=max((state.last_used for state in states if state.last_used is not None), default=None))


def _of(report: PodReport, wanted: str | None, knows: Callable[[str], bool]) -> bool:
    return report.state is not None and (report.state.revision == wanted or knows(report.config_hash))


def _replicas(states: Iterable[ModelState]) -> ReplicaStatus:
    counts = dict.fromkeys(ReplicaStatus.model_fields, 0)
    for state in states:
        if (name := _COUNTED.get(state.phase)) is not None:
            counts[name] += 1
    return ReplicaStatus(**counts)


def _active(ready: list[ModelState], wanted: str | None) -> str | None:
    """During a switch the old one, until every loaded replica has the wanted one."""
    others = sorted({state.revision for state in ready} - {wanted})
    if others:
        return others[0]
    return wanted if ready else None


def _left(reports: Iterable[PodReport]) -> str | None:
    """Why it was unloaded where that happened last."""
    found = [report.left for report in reports if report.left is not None]
    return max(found, key=lambda left: left.at).why if found else None


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
