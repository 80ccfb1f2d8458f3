"""What a pod's refusal means for a request that has brought its client nothing yet. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import msgspec

from paddock_api.errors import PERMANENT, Code, PaddockError


class Verdict(Enum):
    """What to do next."""

    FINAL = "final"  # the client gets it
    NO_FIT = "no_fit"  # this pod never, for this Model as it is: ask the next
    NEXT = "next"  # this pod not now, and it did no work: ask another at once
    BUSY = "busy"  # its queue is full: another that has the Model may have room
    LATER = "later"  # it can't for a while: another may, or the same after the wait
    AGAIN = "again"  # work was lost: once more, if the retry budget has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A pod's answer that is an error, or that there was none.

    `retry_after`: seconds."""

    verdict: Verdict
    status: int
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    should_retry: bool = True
    pod: str = ""
    lost: bool = False  # the connection: the pod may be gone


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None
    param: str | None = None
    retry_after: float | None = None


class _Body(msgspec.Struct):
    error: _Error


_body = msgspec.json.Decoder(_Body)

_LATER = frozenset({
    Code.BACKOFF, Code.DISK_FULL, Code.SOURCE_UNAVAILABLE, Code.SOURCE_NOT_FOUND, Code.LOAD_FAILED, Code.CONTEXT_FAILED,
    Code.ENGINE_OOM, Code.MEMORY_PRESSURE, Code.POOL_UNAVAILABLE,
})
_FINAL = frozenset({Code.HOLD_EXPIRED, Code.DEADLINE, Code.ENGINE_HUNG, Code.CLIENT_STALLED, Code.INTERNAL})


def judge(status: int, code: str) -> Verdict:
    """By the code where it is one of ours; a code that only a newer pod knows goes by the status."""
    if status in (401, 403):
        return Verdict.NEXT  # between gateway and pod: no client has a part in it
    if code == Code.NO_FIT:
        return Verdict.NO_FIT
    if code == Code.DRAINING:
        return Verdict.NEXT
    if code == Code.QUEUE_FULL or status == 429:
        return Verdict.BUSY
    if code == Code.MODEL_NOT_FOUND and status == 404:
        return Verdict.LATER  # the Model exists: the pod has not heard of it yet
    if code == Code.ENGINE_CRASHED:
        return Verdict.AGAIN
    if code in PERMANENT or code in _FINAL:
        return Verdict.FINAL
    if code in _LATER or status == 503:
        return Verdict.LATER
    return Verdict.AGAIN if status == 502 else Verdict.FINAL


def read_refusal(status: int, body: bytes, *, retry_after: float | None, should_retry: bool, pod: str) -> Refusal:
    """From an error response. What is not in OpenAI's shape is not shown to clients."""
    error = _parse(body)
    if error is None or status in (401, 403):
        return Refusal(verdict=judge(status, ""), status=502, code=Code.POD_UNREACHABLE, pod=pod,
                       message="The pod that should answer gave an answer that can't be used.")
    code = str(error.code or Code.INTERNAL)
    return Refusal(verdict=judge(status, code), status=status, code=code, message=error.message, param=error.param,
                   retry_after=retry_after if retry_after is not None else error.retry_after,
                   should_retry=should_retry, pod=pod)


def read_error_event(data: bytes, pod: str) -> Refusal | None:
    """From the data of an event that begins with an error; None if it is none."""
    error = _parse(data)
    if error is None:
        return None
    code = str(error.code or Code.INTERNAL)
    status = status_of(code)
    return Refusal(verdict=judge(status, code), status=status, code=code, message=error.message, param=error.param,
                   retry_after=error.retry_after, pod=pod)


def refused(error: PaddockError, verdict: Verdict = Verdict.FINAL, *, pod: str = "", lost: bool = False) -> Refusal:
    """Our own error as a Refusal."""
    return Refusal(verdict=verdict, status=error.status, code=error.code.value, message=error.message,
                   param=error.param, retry_after=error.retry_after, should_retry=not error.permanent, pod=pod,
                   lost=lost)


def status_of(code: str) -> int:
    try:
        return PaddockError(Code(code), "").status
    except ValueError:
        return 500


def _parse(body: bytes) -> _Error | None:
    try:
        return _body.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
