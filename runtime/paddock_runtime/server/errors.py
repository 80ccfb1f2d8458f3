"""Every failure in OpenAI's shape."""

from __future__ import annotations

import logging
import math

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from paddock_api.errors import Code, PaddockError
from paddock_runtime.jobs import Service

logger = logging.getLogger("paddock.server")

# A client that tries these again only repeats the work: the openai client obeys `x-should-retry`.
_POINTLESS = frozenset({Code.DEADLINE, Code.ENGINE_HUNG, Code.POISON_REQUEST, Code.CLIENT_STALLED})


def error_response(error: PaddockError) -> Response:
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if (error.permanent and error.retry_after is None) or error.code in _POINTLESS:
        headers["x-should-retry"] = "false"
    return json_response(error.body(), status=error.status, headers=headers)


def json_response(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json", headers=headers)


def unexpected(error: BaseException, request_id: str) -> PaddockError:
    """A bug: the log gets all of it, the client a request id to ask about."""
    logger.error("request failed unexpectedly", exc_info=error, extra={"request_id": request_id})
    return PaddockError(Code.INTERNAL, f"Something went wrong inside the server. Its log says more about {request_id}.")


def install(app: FastAPI, service: Service) -> None:
    """Handlers for all that routes may raise. Who asks for a Model that is not here learns which configuration is."""

    async def paddock(_: Request, error: Exception) -> Response:
        assert isinstance(error, PaddockError)
        response = error_response(error)
        if error.code is Code.MODEL_NOT_FOUND:
            response.headers["paddock-config-generation"] = str(service.generation)
        return response

    app.add_exception_handler(PaddockError, paddock)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


async def _http(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, or not by this method."""
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow", "another method")
    messages = {
        404: (f"There is nothing at {request.url.path[:200]}: see docs/api.md for the routes.", "not_found"),
        405: (f"{request.method[:20]} does not work here: use {allowed}.", "method_not_allowed"),
    }
    message, code = messages.get(error.status_code, (str(error.detail), Code.INVALID_REQUEST.value))
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return json_response(body, status=error.status_code, headers=dict(error.headers or {}))


async def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0] if error.errors() else {"loc": (), "msg": "not valid"}
    place = ".".join(str(part) for part in first["loc"])
    return error_response(PaddockError(Code.INVALID_REQUEST, f"{place}: {first['msg']}", param=place or None))
