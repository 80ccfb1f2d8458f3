"""Whole answers of the gateway itself: JSON documents, and every error in OpenAI's shape."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec
from uvicorn._types import ASGISendCallable

from paddock_api.errors import Code, PaddockError
from paddock_gateway.proxy.verdict import Refusal, refused

Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
# A client that tries these again only repeats the work: OpenAI's clients obey `x-should-retry`.
_POINTLESS = frozenset({Code.DEADLINE, Code.ENGINE_HUNG, Code.POISON_REQUEST, Code.CLIENT_STALLED})
# For a refusal that does not say when: 503 and 429 always tell a client to come back.
_RETRY_AFTER = 30.0
_COMES_BACK = frozenset({429, 503})


async def answer(send: ASGISendCallable, status: int, body: bytes, headers: Iterable[Header] = (JSON,)) -> None:
    await send({"type": "http.response.start", "status": status,
                "headers": [*headers, (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def answer_json(send: ASGISendCallable, value: Any, status: int = 200) -> None:
    await answer(send, status, msgspec.json.encode(value))


async def answer_refusal(send: ASGISendCallable, refusal: Refusal, headers: Iterable[Header] = ()) -> None:
    await answer(send, refusal.status, msgspec.json.encode(error_body(refusal)),
                 (JSON, *retry_headers(refusal), *headers))


async def answer_error(send: ASGISendCallable, error: PaddockError, headers: Iterable[Header] = ()) -> None:
    await answer_refusal(send, refused(error), headers)


def error_body(refusal: Refusal) -> dict[str, Any]:
    """As OpenAI's clients read it. A code that only a newer pod knows is passed on as it is."""
    wait = wait_of(refusal)
    try:
        return PaddockError(Code(refusal.code), refusal.message, param=refusal.param, retry_after=wait).body()
    except ValueError:
        kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
        error: dict[str, Any] = {"message": refusal.message, "type": kind, "param": refusal.param,
                                 "code": refusal.code}
        return {"error": error if wait is None else {**error, "retry_after": wait}}


def retry_headers(refusal: Refusal) -> list[Header]:
    """Whole seconds to wait, never 0, and whether to try again at all."""
    headers: list[Header] = []
    wait = wait_of(refusal)
    if wait is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(wait))))
    if not refusal.should_retry or refusal.code in _POINTLESS:
        headers.append((b"x-should-retry", b"false"))
    return headers


def wait_of(refusal: Refusal) -> float | None:
    """Seconds, for a status that says: come back."""
    if refusal.status in _COMES_BACK:
        return refusal.retry_after if refusal.retry_after is not None else _RETRY_AFTER
    return refusal.retry_after
