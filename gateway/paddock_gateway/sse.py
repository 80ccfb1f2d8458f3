"""Writing server-sent events."""

from __future__ import annotations

import msgspec


def comment(text: str) -> bytes:
    return f": {text}\n\n".encode("ascii", "replace")


def error_event(body: object) -> bytes:
    """How a stream that has begun says that it failed. No `[DONE]` follows."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
