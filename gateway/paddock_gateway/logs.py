"""JSON logs: one event a line, always. No character that a client sends can start a new line or move a cursor."""

from __future__ import annotations

import logging
import sys
from typing import IO

from paddock_api import log_lines

MAX_TEXT = 4096
FIELDS = (
    "request_id", "method", "path", "model", "revision", "pod", "status", "code", "reason", "seconds", "first_seconds",
    "attempts", "tokens", "key", "client", "kind", "data",
)

_NOISY = ("aiohttp", "asyncio", "kubernetes", "uvicorn")


class JsonFormatter(log_lines.JsonFormatter):
    def __init__(self) -> None:
        super().__init__(FIELDS, max_text=MAX_TEXT)


def configure(level: str, stream: IO[str] | None = None) -> None:
    """All of this process's logs and warnings go to `stream` (stderr)."""
    number = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    logging.captureWarnings(True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    # uvicorn tells of every invalid request and of how it ends: counted and logged by the gateway itself
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
