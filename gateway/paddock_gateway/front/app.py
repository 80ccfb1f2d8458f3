"""Around every request: who sends it, its id, its log line, its count, and a well-shaped end whatever happens."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import cast

from uvicorn._types import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)

from paddock_api.errors import Code, PaddockError
from paddock_gateway.access.folder import KeyFolder
from paddock_gateway.access.keys import Grant
from paddock_gateway.fleet.world import World
from paddock_gateway.front.answers import Header, answer_error, answer_json, answer_refusal
from paddock_gateway.front.catalog import find_model, list_models
from paddock_gateway.front.connection import Connection, Stalled, connection_of
from paddock_gateway.front.inference import PATHS, Inference
from paddock_gateway.front.reading import Left
from paddock_gateway.front.record import CLIENT_LEFT, Record, endpoint_of, request_id_of
from paddock_gateway.metrics import Metrics
from paddock_gateway.proxy.seek import GaveUp
from paddock_gateway.proxy.verdict import refused

access = logging.getLogger("paddock.gateway.access_log")
logger = logging.getLogger("paddock.gateway")

_MODELS = "/v1/models"


class Application:
    """The public port. `closed`: new requests are turned away, for the gateway ends."""

    def __init__(self, world: World, keys: KeyFolder, inference: Inference, metrics: Metrics, *, stall: float) -> None:
        self._world, self._keys, self._inference, self._metrics = world, keys, inference, metrics
        self._stall = stall
        self.closed = False

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        headers = cast(list[Header], scope["headers"])
        record = Record(request_id=request_id_of(headers), endpoint=endpoint_of(scope["path"]))
        patient = _patient(send, connection_of(scope), self._stall)
        labelled = _labelled(patient, record, expects=any(name == b"expect" for name, _ in headers))
        try:
            await self._answer(scope, receive, labelled, record)
        except Stalled:
            record.status, record.code = CLIENT_LEFT, Code.CLIENT_STALLED.value
            await asyncio.sleep(0)  # the server hears that the connection is gone, and finds nothing amiss
        except asyncio.CancelledError:
            record.code = Code.DRAINING.value
            connection_of(scope).abort()
            raise
        finally:
            self._finish(record, scope)

    async def _answer(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable,
                      record: Record) -> None:
        try:
            await self._route(scope, receive, send, record)
        except Left:
            record.status, record.code = CLIENT_LEFT, "client_left"
        except Stalled:
            raise
        except (PaddockError, GaveUp) as error:
            refusal = error.refusal if isinstance(error, GaveUp) else refused(error)
            record.code, record.pod = refusal.code, refusal.pod or record.pod
            await answer_refusal(send, refusal)
        except Exception as error:
            logger.error("a request failed unexpectedly", exc_info=error, extra={"request_id": record.request_id})
            record.code = Code.INTERNAL.value
            if record.status is None:
                await answer_error(send, PaddockError(Code.INTERNAL, "Something went wrong inside the gateway. Its log "
                                                      f"says more about {record.request_id}."))
            else:
                connection_of(scope).abort()

    async def _route(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable,
                     record: Record) -> None:
        path = scope["path"]
        if not path.startswith("/v1/"):
            raise _nothing_at(path)
        grant = self._admit(scope)
        record.key = grant.name
        if path in PATHS:
            _check_method(scope["method"], "POST")
            if self.closed:
                raise PaddockError(Code.DRAINING, "This gateway ends: send the request again.", retry_after=1.0)
            await self._inference.serve(scope, receive, send, record, grant)
            return
        if path != _MODELS and not path.startswith(f"{_MODELS}/"):
            raise _nothing_at(path)
        _check_method(scope["method"], "GET")
        snapshot = self._world.snapshot
        if path == _MODELS:
            await answer_json(send, list_models(snapshot, grant.namespaces))
        else:
            await answer_json(send, find_model(snapshot, path.removeprefix(f"{_MODELS}/"), grant.namespaces))

    def _admit(self, scope: HTTPScope) -> Grant:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        try:
            return self._keys.ring.admit(given)
        except PaddockError:
            self._metrics.unauthorised()
            raise

    def _finish(self, record: Record, scope: HTTPScope) -> None:
        status = record.status or CLIENT_LEFT
        seconds = time.monotonic() - record.started
        self._metrics.request(record.model, record.endpoint, status, seconds)
        access.info("request", extra={
            "request_id": record.request_id,
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status,
            "seconds": round(seconds, 4),
            "first_seconds": None if record.first is None else round(record.first, 4),
            "model": record.model,
            "revision": record.revision,
            "pod": record.pod,
            "code": record.code,
            "attempts": record.attempts or None,
            "tokens": record.tokens,
            "key": record.key,
            "client": scope["client"][0] if scope["client"] else None,
        })


def _patient(send: ASGISendCallable, connection: Connection, stall: float) -> ASGISendCallable:
    """`send` for an answer's begin and end, which waits for a client that takes nothing no longer than `stall`.

    Raises Stalled, with the connection aborted."""

    async def patient(message: ASGISendEvent) -> None:
        if message["type"] != "http.response.body" or not message["more_body"]:
            try:
                await connection.writable(stall)
            except Stalled:
                connection.abort()
                raise
        await send(message)

    return patient


def _labelled(send: ASGISendCallable, record: Record, *, expects: bool) -> ASGISendCallable:
    """`send` that remembers the status and names the request. A client that still waits for leave to send its body will
    not send it now: the connection ends with the answer."""

    async def labelled(message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            extra = [(b"x-request-id", record.request_id.encode())]
            if expects and not record.body_read:
                extra.append((b"connection", b"close"))
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return labelled


def _check_method(method: str, wanted: str) -> None:
    if method != wanted:
        raise PaddockError(Code.METHOD_NOT_ALLOWED, f"{method[:20]} does not work here: use {wanted}.")


def _nothing_at(path: str) -> PaddockError:
    return PaddockError(Code.NOT_FOUND, f"There is nothing at {path[:200]!r}: the routes are /v1/models, "
                        "/v1/chat/completions, /v1/completions and /v1/embeddings.")
