"""JSON logs: one event a line, always. No character that a client sends can start a new line or move a cursor."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, Any

from paddock_api import log_lines
from paddock_api.events import Event, EventType

MAX_TEXT = 8192
FIELDS = ("model", "revision", "request_id", "method", "path", "status", "seconds", "code", "client", "event", "data")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_NOISY = ("httpx", "httpcore", "hpack", "asyncio", "watchfiles", "uvicorn")

_events = logging.getLogger("paddock.events")


@contextmanager
def outside_request() -> Iterator[None]:
    """For what a request only sets off: tasks that outlive it must not log its id for ever."""
    token = request_id.set(None)
    try:
        yield
    finally:
        request_id.reset(token)


class JsonFormatter(log_lines.JsonFormatter):
    """With the id of the request that is being answered."""

    def __init__(self) -> None:
        super().__init__(FIELDS, max_text=MAX_TEXT)

    def line(self, record: logging.LogRecord) -> dict[str, Any]:
        line = super().line(record)
        if (current := request_id.get()) is not None:
            line.setdefault("request_id", current)
        return line


class ConsoleFormatter(JsonFormatter):
    """The same record for a person at a terminal: time, what, and the few fields that matter. One line, too."""

    def format(self, record: logging.LogRecord) -> str:
        line = json.loads(super().format(record))
        shown = [str(line[name]) for name in ("model", "method", "path", "status") if name in line]
        if "from" in (data := line.get("data") or {}):
            shown.append(f"{data['from']} -> {data['to']}")
        if "error" in line:
            shown.append(line["error"])
        text = " ".join([line["time"][11:19], line["level"], line["message"], *shown])
        return json.dumps(text, ensure_ascii=False)[1:-1].translate(_UNPRINTABLE).replace('\\"', '"')


_UNPRINTABLE = {code: f"\\x{code:02x}" for code in range(0x7F, 0xA0)} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


def configure(*, level: int = logging.INFO, stream: IO[str] | None = None, console: bool = False) -> None:
    """All of this process's logs and warnings go to `stream` (stderr), as JSON unless it is a person's console."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(ConsoleFormatter() if console else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def log_event(event: Event) -> None:
    """A listener of the bus. Progress and memory come each second, and a state is long: they are for `/events`."""
    if event.type in (EventType.PROGRESS, EventType.MEMORY, EventType.MODEL):
        return
    level = logging.WARNING if event.type in (EventType.ENGINE_ENDED, EventType.REQUEST_REFUSED) else logging.INFO
    _events.log(level, event.type.value, extra={"event": event.type.value, "model": event.model,
                                                "revision": event.revision, "data": event.data})
