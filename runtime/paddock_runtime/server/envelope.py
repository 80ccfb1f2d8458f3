"""Around every request: its id, its log line, its count, and a well-shaped end whatever happens inside."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paddock_api.errors import Code
from paddock_api.state import Pressure
from paddock_runtime.logs import request_id as current_request_id
from paddock_runtime.metrics import Metrics
from paddock_runtime.server.connection import Stalled, connection_of
from paddock_runtime.server.errors import error_response, unexpected
from paddock_runtime.server.reading import Left
from paddock_runtime.server.record import Record, attach

access = logging.getLogger("paddock.access")

CLIENT_LEFT = 499  # nginx's number for it; no client sees it
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/models": "models",
}
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})


class Envelope:
    def __init__(self, app: ASGIApp, metrics: Metrics, pressure: Callable[[], Pressure]) -> None:
        self._app = app
        self._metrics = metrics
        self._pressure = pressure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = Record(request_id=request_id_of(scope), metrics=self._metrics)
        attach(scope, record)
        token = current_request_id.set(record.request_id)
        try:
            await self._answer(record, scope, receive, send)
        finally:
            current_request_id.reset(token)
            self._finish(record, scope)

    async def _answer(self, record: Record, scope: Scope, receive: Receive, send: Send) -> None:
        async def labelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", record.request_id.encode())]
                if scope["path"] in _ENDPOINTS and (level := self._pressure()) is not Pressure.OK:
                    message["headers"].append((b"paddock-memory-pressure", level.value.encode()))
            await send(message)

        try:
            await self._app(scope, receive, labelled)
        except Left:
            record.status, record.code = CLIENT_LEFT, "client_left"
        except Stalled:
            record.status, record.code = CLIENT_LEFT, Code.CLIENT_STALLED.value
        except asyncio.CancelledError:
            record.code = Code.DRAINING.value
            connection_of(scope).abort()
            raise
        except Exception as error:  # noqa: BLE001  the last place that can answer
            failure = unexpected(error, record.request_id)
            record.code = failure.code.value
            if record.status is None:
                await error_response(failure)(scope, receive, labelled)
            else:
                connection_of(scope).abort()

    def _finish(self, record: Record, scope: Scope) -> None:
        record.flush()
        endpoint = _ENDPOINTS.get(scope["path"], "other")
        status = record.status or CLIENT_LEFT
        self._metrics.request(record.model, endpoint, status)
        level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
        access.log(level, "request", extra={
            "request_id": record.request_id,
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status,
            "seconds": round(time.monotonic() - record.started, 4),
            "model": record.model,
            "revision": record.revision,
            "code": record.code,
            "client": scope["client"][0] if scope.get("client") else None,
        })


def request_id_of(scope: Scope) -> str:
    """The client's own `x-request-id` if it is a plain short word, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _ID.fullmatch(text):
                return str(text)
    return f"req-{uuid.uuid4().hex}"
