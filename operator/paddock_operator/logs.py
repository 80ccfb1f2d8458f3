"""JSON logs: one event a line, always. No text from a cluster's objects can start a new line or move a cursor."""

from __future__ import annotations

import logging
import sys
from typing import IO, Any

from paddock_api import log_lines

MAX_TEXT = 4096
FIELDS = ("key", "pool", "pod", "failures", "identity", "kind", "seconds", "code")

_NOISY = ("aiohttp", "asyncio", "kubernetes", "httpx", "httpcore")


class JsonFormatter(log_lines.JsonFormatter):
    """Keys and other small objects are shown as people write them."""

    def __init__(self) -> None:
        super().__init__(FIELDS, max_text=MAX_TEXT)

    def clean(self, value: Any) -> Any:
        return super().clean(value if isinstance(value, int | float) else str(value))


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
    # kopf tells of every object and every try; what matters is told by the operator itself
    logging.getLogger("kopf").setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)
