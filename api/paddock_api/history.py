"""What became of a Model: its revisions and what was done with it, as `/models/{namespace}/{name}/history` says it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Cause(StrEnum):
    CONFIGURATION = "configuration"  # its manifest or its source changed
    ROLLBACK = "rollback"  # it is an older revision again
    FALLBACK = "fallback"  # the desired one is bad, so the last good one serves


class Done(StrEnum):
    LOAD = "load"
    UNLOAD = "unload"
    EVICT = "evict"  # others needed the memory
    PIN = "pin"
    UNPIN = "unpin"
    SWITCH = "switch"
    FAIL = "fail"


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PastRevision(_Told):
    """Of two revisions the one with the larger number was accepted later. `time` and `proven` (when it was loaded for
    the first time) are Unix seconds; `bad` says why it failed for a fault of its own. `spec` holds what was set."""

    number: int
    id: str
    time: float
    cause: str
    text: str
    bad: str | None = None
    proven: float | None = None
    spec: dict[str, Any]
    commit: str | None = None


class Operation(_Told):
    """`time` is Unix seconds. `detail` says more: reason and message, seconds, cause."""

    time: float
    what: Done
    revision: str | None = None
    detail: dict[str, Any] = {}


class ModelHistory(_Told):
    """Oldest first. `desired` and `active` are ids of revisions, as is `last_good`, to which a bad desired one falls
    back. `directory`: where the manifest lies, if it is a local one."""

    model: str
    desired: str | None = None
    active: str | None = None
    last_good: str | None = None
    revisions: list[PastRevision]
    operations: list[Operation] = []
    directory: str | None = None


def last_good(revisions: list[PastRevision], desired: str | None) -> str | None:
    """The desired revision if it is proven and not bad, else the newest that is."""
    good = [each for each in revisions if each.proven is not None and each.bad is None]
    if any(each.id == desired for each in good):
        return desired
    return max(good, key=lambda each: each.number).id if good else None
