"""What is remembered of one request, for its log line and its metrics."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field

from paddock_gateway.metrics import UNKNOWN

CLIENT_LEFT = 499  # nginx's number for it; no client sees it

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/models": "models",
}
# Inside of a text that a model wrote, the quotes are escaped.
_TOKENS = re.compile(rb'(?<!\\)"completion_tokens": ?(\d{1,9})')
_USAGE_REACH = 2048


@dataclass(kw_only=True)
class Record:
    """`model` stays "unknown" until a Model was resolved: what clients make up is no label. Times are monotonic."""

    request_id: str
    endpoint: str
    started: float = field(default_factory=time.monotonic)
    model: str = UNKNOWN
    revision: str | None = None
    pod: str | None = None
    key: str | None = None
    status: int | None = None
    code: str | None = None
    first: float | None = None
    attempts: int = 0
    body_read: bool = False
    tokens: int | None = None

    def answered(self) -> None:
        """Its first content is there."""
        self.first = time.monotonic() - self.started

    def ended(self, last: bytes) -> None:
        """`last`: the end of the body. The number of tokens generated is in it, if the answer tells its usage."""
        found = _TOKENS.findall(last[-_USAGE_REACH:])
        if found:
            self.tokens = int(found[-1])


def endpoint_of(path: str) -> str:
    """A word for metrics: paths are made up by clients, endpoints are not."""
    return _ENDPOINTS.get(path, "model" if path.startswith("/v1/models/") else "other")


def request_id_of(headers: list[tuple[bytes, bytes]]) -> str:
    """The client's own `x-request-id` if it is a plain short word, else a new one."""
    given = next((value for name, value in headers if name == b"x-request-id"), b"").decode("latin-1")
    return given if _ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"
