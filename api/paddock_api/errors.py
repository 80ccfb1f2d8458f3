"""The error vocabulary: what can go wrong, in the words that clients, statuses, events and metrics share."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """A machine-readable reason. Its value is the `code` of OpenAI-shaped errors and the `reason` of states."""

    # the request is wrong
    INVALID_REQUEST = "invalid_request"
    INVALID_SPEC = "invalid_spec"
    UNSUPPORTED = "unsupported"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    INVALID_GRAMMAR = "invalid_grammar"
    TEMPLATE_FAILED = "template_failed"
    AMBIGUOUS_MODEL = "ambiguous_model"
    MODEL_NOT_FOUND = "model_not_found"
    BODY_TOO_LARGE = "body_too_large"
    POISON_REQUEST = "poison_request"
    # the client may not, or there is no such thing
    INVALID_API_KEY = "invalid_api_key"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    # no room or no time
    QUEUE_FULL = "queue_full"
    HOLD_EXPIRED = "hold_expired"
    NO_FIT = "no_fit"
    DEADLINE = "deadline_exceeded"
    MEMORY_PRESSURE = "memory_pressure"
    DRAINING = "draining"
    CLIENT_STALLED = "client_stalled"
    # no pod answers
    POOL_UNAVAILABLE = "pool_unavailable"
    POD_UNREACHABLE = "pod_unreachable"
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
    VERIFY_FAILED = "verify_failed"
    ENGINE_CRASHED = "engine_crashed"
    ENGINE_OOM = "engine_oom"
    ENGINE_HUNG = "engine_hung"
    BACKOFF = "backoff"
    INTERNAL = "internal_error"


# 503 means: may pass. Every code stands here, so that a new one is a decision.
_STATUS: dict[Code, int] = {
    Code.INVALID_REQUEST: 400,
    Code.INVALID_SPEC: 400,
    Code.UNSUPPORTED: 400,
    Code.CONTEXT_LENGTH_EXCEEDED: 400,
    Code.INVALID_GRAMMAR: 400,
    Code.TEMPLATE_FAILED: 400,
    Code.AMBIGUOUS_MODEL: 400,
    Code.MODEL_NOT_FOUND: 404,
    Code.BODY_TOO_LARGE: 413,
    Code.POISON_REQUEST: 400,
    Code.INVALID_API_KEY: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.QUEUE_FULL: 429,
    Code.HOLD_EXPIRED: 503,
    Code.NO_FIT: 409,
    Code.DEADLINE: 504,
    Code.MEMORY_PRESSURE: 503,
    Code.DRAINING: 503,
    Code.CLIENT_STALLED: 408,
    Code.POOL_UNAVAILABLE: 503,
    Code.POD_UNREACHABLE: 502,
    Code.SOURCE_NOT_FOUND: 503,
    Code.SOURCE_REFUSED: 503,
    Code.SOURCE_UNAVAILABLE: 503,
    Code.CHECKSUM_MISMATCH: 503,
    Code.SIZE_MISMATCH: 503,
    Code.DISK_FULL: 503,
    Code.INVALID_MODEL_FILE: 503,
    Code.UNSUPPORTED_MODEL: 503,
    Code.LOAD_FAILED: 503,
    Code.CONTEXT_FAILED: 503,
    Code.VERIFY_FAILED: 503,
    Code.ENGINE_CRASHED: 502,
    Code.ENGINE_OOM: 503,
    Code.ENGINE_HUNG: 504,
    Code.BACKOFF: 503,
    Code.INTERNAL: 500,
}

_TYPE: dict[int, str] = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "invalid_request_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "server_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}

# Faults that lie in the revision itself: trying again without a change can't help.
PERMANENT: frozenset[Code] = frozenset(
    {
        Code.INVALID_SPEC,
        Code.SOURCE_REFUSED,
        Code.CHECKSUM_MISMATCH,
        Code.SIZE_MISMATCH,
        Code.INVALID_MODEL_FILE,
        Code.UNSUPPORTED_MODEL,
        Code.NO_FIT,
        Code.VERIFY_FAILED,
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
        return _STATUS[self.code]

    @property
    def permanent(self) -> bool:
        """True if the same revision fails again until somebody changes it or its file."""
        return self.code in PERMANENT

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        error: dict[str, Any] = {"message": self.message, "type": _TYPE[self.status], "param": self.param,
                                 "code": self.code.value}
        if self.retry_after is not None:
            error["retry_after"] = self.retry_after
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """Response headers: whole seconds to wait, never 0, or the word not to retry what cannot get better.

        OpenAI's clients retry 408, 409, 429 and 5xx by themselves, and obey x-should-retry."""
        if self.permanent:
            return {"x-should-retry": "false"}
        return {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}
