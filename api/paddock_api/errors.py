"""The error vocabulary: what can go wrong, in the words that clients, statuses, events and metrics share."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """A machine-readable reason. Its value is the `code` of OpenAI-shaped errors and the `reason` of states."""

    # the request is wrong
    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED = "unsupported"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    INVALID_GRAMMAR = "invalid_grammar"
    TEMPLATE_FAILED = "template_failed"
    AMBIGUOUS_MODEL = "ambiguous_model"
    MODEL_NOT_FOUND = "model_not_found"
    BODY_TOO_LARGE = "body_too_large"
    POISON_REQUEST = "poison_request"
    # no room or no time
    QUEUE_FULL = "queue_full"
    HOLD_EXPIRED = "hold_expired"
    NO_FIT = "no_fit"
    DEADLINE = "deadline_exceeded"
    DRAINING = "draining"
    CLIENT_STALLED = "client_stalled"
    # the model's files
    SOURCE_NOT_FOUND = "source_not_found"
    SOURCE_REFUSED = "source_refused"
    SOURCE_UNAVAILABLE = "source_unavailable"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    SIZE_MISMATCH = "size_mismatch"
    DISK_FULL = "disk_full"
    INVALID_MODEL_FILE = "invalid_model_file"
    UNSUPPORTED_MODEL = "unsupported_model"
    # the engine
    LOAD_FAILED = "load_failed"
    CONTEXT_FAILED = "context_failed"
    ENGINE_CRASHED = "engine_crashed"
    ENGINE_OOM = "engine_oom"
    ENGINE_HUNG = "engine_hung"
    BACKOFF = "backoff"
    INTERNAL = "internal_error"


_STATUS: dict[Code, int] = {
    Code.INVALID_REQUEST: 400,
    Code.UNSUPPORTED: 400,
    Code.CONTEXT_LENGTH_EXCEEDED: 400,
    Code.INVALID_GRAMMAR: 400,
    Code.TEMPLATE_FAILED: 400,
    Code.AMBIGUOUS_MODEL: 400,
    Code.MODEL_NOT_FOUND: 404,
    Code.BODY_TOO_LARGE: 413,
    Code.POISON_REQUEST: 400,
    Code.QUEUE_FULL: 429,
    Code.NO_FIT: 409,
    Code.DEADLINE: 504,
    Code.CLIENT_STALLED: 408,
    Code.ENGINE_CRASHED: 502,
    Code.ENGINE_HUNG: 504,
    Code.INTERNAL: 500,
}

# Faults that lie in the revision itself: trying again without a change can't help.
PERMANENT: frozenset[Code] = frozenset(
    {
        Code.SOURCE_REFUSED,
        Code.CHECKSUM_MISMATCH,
        Code.SIZE_MISMATCH,
        Code.INVALID_MODEL_FILE,
        Code.UNSUPPORTED_MODEL,
        Code.NO_FIT,
    }
)


class PaddockError(Exception):
    """Any failure that a client or a status may see.

    `message` says what is wrong and what to do; `param` names the field at fault; `retry_after` is in seconds.
    """

    def __init__(
        self, code: Code, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status. Whatever can pass is 503."""
        return _STATUS.get(self.code, 503)

    @property
    def permanent(self) -> bool:
        return self.code in PERMANENT

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        kind = {400: "invalid_request_error", 404: "invalid_request_error", 413: "invalid_request_error",
                429: "rate_limit_error"}.get(self.status, "server_error")
        error: dict[str, Any] = {"message": self.message, "type": kind, "param": self.param, "code": self.code.value}
        if self.retry_after is not None:
            error["retry_after"] = self.retry_after
        return {"error": error}
