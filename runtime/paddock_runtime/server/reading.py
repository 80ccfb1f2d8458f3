"""Reading a request's body inside its limits, and noticing that its client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from paddock_api.errors import Code, PaddockError
from paddock_runtime.openai.body import parse_object

# From here on parsing takes longer than a step of the event loop should.
_PARSE_ASIDE = 256 << 10


class Left(Exception):
    """The client closed the connection."""


async def read_object(request: Request, *, limit: int, seconds: float) -> dict[str, Any]:
    """The body as a JSON object.

    Raises PaddockError BODY_TOO_LARGE as soon as `limit` bytes are passed, CLIENT_STALLED when it is not here in
    `seconds`, INVALID_REQUEST when it is not JSON; Left.
    """
    try:
        async with asyncio.timeout(seconds):
            body = await _read(request, limit)
    except TimeoutError:
        raise PaddockError(Code.CLIENT_STALLED, f"The request's body did not arrive in {seconds:g} s.") from None
    except ClientDisconnect:
        raise Left from None
    if len(body) > _PARSE_ASIDE:
        return await asyncio.to_thread(parse_object, body)
    return parse_object(body)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
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


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit: int) -> PaddockError:
    return PaddockError(Code.BODY_TOO_LARGE, f"The body is larger than {limit} bytes: shorten the prompt or send "
                        "fewer inputs in one request.")
