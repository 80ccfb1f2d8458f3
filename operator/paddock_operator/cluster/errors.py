"""What the API server can answer instead of what was asked for, by what a caller does about it."""

from __future__ import annotations

import json
from typing import Any

_MAX_MESSAGE = 1000
# The words of metav1.Status, and our own for no answer. A webhook may say anything else.
_WORDS = frozenset((
    "AlreadyExists", "BadRequest", "Conflict", "Expired", "Forbidden", "Gone", "InternalError", "Invalid",
    "MethodNotAllowed", "NoAnswer", "NotFound", "RequestEntityTooLarge", "ServerTimeout", "ServiceUnavailable",
    "Timeout", "TooManyRequests", "Unauthorized", "UnsupportedMediaType"))


class ApiError(Exception):
    """An answer that is not 2xx. `reason` is the word of metav1.Status, such as AlreadyExists."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def word(self) -> str:
        """The reason if it is one of a few words, else `Other`: fit for the label of a metric."""
        return self.reason if self.reason in _WORDS else "Other"


class NotFound(ApiError):
    """There is no such object, or no such kind."""


class Conflict(ApiError):
    """Somebody was quicker: read again, then decide again."""


class AlreadyExists(ApiError):
    """An object of that name is there."""


class Gone(ApiError):
    """The resourceVersion or continue token is too old: list from the start."""


class Invalid(ApiError):
    """The object is refused as it is; only another one can pass."""


class Unavailable(ApiError):
    """No answer, or one that says to come again: try later. `retry_after` is in seconds."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(status, reason, message)
        self.retry_after = retry_after


_BY_STATUS: dict[int, type[ApiError]] = {404: NotFound, 409: Conflict, 410: Gone, 400: Invalid, 422: Invalid}


def error_of(status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error that an answer stands for. Pure."""
    reason, message = _told(body)
    if status == 409 and reason == "AlreadyExists":
        return AlreadyExists(status, reason, message)
    if status in (408, 429) or status >= 500:
        return Unavailable(status, reason, message, _seconds(retry_after))
    return _BY_STATUS.get(status, ApiError)(status, reason, message)


def _told(body: bytes) -> tuple[str, str]:
    try:
        document: Any = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return "Unknown", body[:_MAX_MESSAGE].decode(errors="replace") or "no message"
    return str(document.get("reason") or "Unknown"), str(document.get("message") or "no message")[:_MAX_MESSAGE]


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() else None
