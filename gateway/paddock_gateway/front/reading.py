"""Reading a request's body inside its limits, finding the two words we need, noticing that its client left."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

import msgspec
from uvicorn._types import ASGIReceiveCallable, Scope

from paddock_api.errors import Code, PaddockError

MAX_DEPTH = 128  # what pods take too
_MAX_BRACKETS = 200_000

# A string without an end is one too: else each quote in it would be looked at as the begin of another, to the end.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_STEP = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}


class Left(Exception):
    """The client closed the connection."""


class Words(NamedTuple):
    """What the gateway reads of a body. The pod reads the rest, and judges it."""

    model: str
    stream: bool


class _Body(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw()
    stream: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Body)


def find_words(body: bytes) -> Words:
    """`model` and `stream` of the JSON object in `body`. Raises PaddockError INVALID_REQUEST.

    Everything else is only skipped over, at the speed of memory; nothing that is sent can make that recurse deeply."""
    _check_depth(body)
    try:
        found = _decoder.decode(body)
        model, stream = _value(found.model), _value(found.stream)
    except UnicodeDecodeError:
        _invalid("the body is not UTF-8: send JSON encoded as UTF-8")
    except msgspec.ValidationError:
        _invalid('the body must be a JSON object, such as {"model": "…"}')
    except msgspec.DecodeError as error:
        _invalid(f"the body is not JSON: {error}")
    except RecursionError:
        _invalid(f"the body nests deeper than {MAX_DEPTH} levels: flatten it")
    if not isinstance(model, str) or not model:
        _invalid("model: give the name of a model as text; GET /v1/models lists what you can use", param="model")
    if stream is not None and not isinstance(stream, bool):
        _invalid("stream: give true or false", param="stream")
    return Words(model, bool(stream))


async def read_body(scope: Scope, receive: ASGIReceiveCallable, *, limit: int, seconds: float,
                    take: Callable[[int], None]) -> bytes:
    """`take` hears of the size of each piece, and may refuse it.

    Raises PaddockError BODY_TOO_LARGE as soon as `limit` bytes are passed, CLIENT_STALLED when it is not here in
    `seconds`, UNSUPPORTED when it is encoded; Left."""
    headers = dict(scope["headers"])  # type: ignore[typeddict-item]  # the scope of a websocket is not served
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise PaddockError(Code.UNSUPPORTED, "The body is compressed: send it without Content-Encoding.")
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            return await _read(receive, limit, take)
    except TimeoutError:
        raise PaddockError(Code.CLIENT_STALLED, f"The request's body did not arrive in {seconds:g} s.") from None


async def unless_gone(receive: ASGIReceiveCallable, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end; when the client leaves before, cancel it, wait for its clean-up and raise Left."""
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return
    finally:
        await _end(task, watch)
    raise Left


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: either raised already, or nobody is left to hear it


async def _gone(receive: ASGIReceiveCallable) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: ASGIReceiveCallable, limit: int, take: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Left
        size += len(message["body"])
        if size > limit:
            raise _too_large(limit)
        take(len(message["body"]))
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


def _check_depth(body: bytes) -> None:
    """By the brackets outside of strings. Most bodies have too few of any kind to nest deeply."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    if len(brackets) > _MAX_BRACKETS:
        _invalid(f"the body holds more than {_MAX_BRACKETS // 2} objects and arrays: send less in one request")
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > MAX_DEPTH:
        _invalid(f"the body nests deeper than {MAX_DEPTH} levels: flatten it")


def _value(raw: msgspec.Raw) -> object:
    return msgspec.json.decode(raw) if len(raw) else None


def _invalid(message: str, *, param: str | None = None) -> NoReturn:
    raise PaddockError(Code.INVALID_REQUEST, message, param=param)


def _too_large(limit: int) -> PaddockError:
    return PaddockError(Code.BODY_TOO_LARGE, f"The body is larger than {limit} bytes: shorten the prompt or send "
                        "fewer inputs in one request.")
