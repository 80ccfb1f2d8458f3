"""A pod's answer on its way to the client: bytes as they come, with as little work for each as there can be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import aiohttp
from uvicorn._types import ASGISendCallable

from paddock_api.errors import Code, PaddockError
from paddock_gateway import sse
from paddock_gateway.front.answers import Header, error_body
from paddock_gateway.front.connection import Connection, Stalled
from paddock_gateway.front.record import Record
from paddock_gateway.proxy.seek import GaveUp
from paddock_gateway.proxy.upstream import Ask, Opened
from paddock_gateway.proxy.verdict import Refusal, read_error_event, refused

# What of an unfinished event is held back, so that an error can follow a whole one.
_MAX_TAIL = 32 << 10
_DONE = b"data: [DONE]"

STREAM_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
# Of a pod's headers, those that clients get.
_PASSED = ("content-type", "content-length", "retry-after", "x-should-retry", "paddock-memory-pressure")


class Broken(Exception):
    """The pod's answer ended in its middle, after its begin went to the client."""


class Delivery:
    """One response. `started`: its headers went out, so that from now on an error must be said in the stream."""

    def __init__(self, send: ASGISendCallable, connection: Connection, record: Record, *, stall: float) -> None:
        self.started = False
        self._send, self._connection, self._record, self._stall = send, connection, record, stall

    # --- waiting

    async def hold(self, task: asyncio.Task[Opened], ask: Ask, *, headers_after: float, heartbeat: float) -> Opened:
        """The task's result. A client that waits gets headers, then a comment each `heartbeat` seconds."""
        wait = headers_after
        try:
            while not (await asyncio.wait({task}, timeout=wait))[0]:
                await self.begin_stream()
                await self.write(sse.comment(ask.progress))
                wait = heartbeat
            return task.result()
        except BaseException:
            await _discard(task)
            raise

    # --- streams

    async def begin_stream(self, extra: Iterable[Header] = ()) -> None:
        if not self.started:
            await self._start(200, [*STREAM_HEADERS, *extra])

    async def stream(self, opened: Opened, extra: Iterable[Header]) -> None:
        """Whole events only, so that one of ours can follow. Raises Broken, Stalled."""
        await self.begin_stream(extra)
        content, chunk, tail, last = opened.response.content, opened.first, b"", b""
        while chunk:
            if tail:
                chunk = tail + chunk
            if chunk.endswith(b"\n\n"):
                tail = b""
            elif len(chunk) < _MAX_TAIL:
                end = chunk.rfind(b"\n\n") + 2
                chunk, tail = (chunk[:end], chunk[end:]) if end > 1 else (b"", chunk)
            else:
                tail = b""
            if chunk:
                last = chunk
                await self.write(chunk)
            try:
                chunk = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise Broken from error
        if tail:
            await self.write(tail)
            last = tail
        self._judge_end(last, opened.pod.name)
        await self.finish()

    async def fail_stream(self, refusal: Refusal) -> None:
        """An error after the headers: an event, and no `[DONE]`."""
        await self.begin_stream()
        await self.write(sse.error_event(error_body(refusal)))
        await self.finish()

    # --- whole documents

    async def document(self, opened: Opened, extra: Iterable[Header]) -> None:
        """Raises Broken with the connection aborted: the client must not take a half for the whole. Stalled."""
        response = opened.response
        passed = [(name.encode(), response.headers[name].encode("latin-1")) for name in _PASSED
                  if name in response.headers]
        await self._start(response.status, [*passed, *extra])
        chunk = last = opened.first
        while chunk:
            await self.write(chunk)
            last = chunk if len(chunk) > 1024 else last[-1024:] + chunk
            try:
                chunk = await response.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                self._connection.abort()
                raise Broken from error
        self._record.ended(last)
        await self.finish()

    # --- bytes

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises Stalled, with the connection aborted."""
        try:
            await self._connection.writable(self._stall)
        except Stalled:
            self._connection.abort()
            raise
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        """The last thing to do, since the server tells the watcher of disconnects at once."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def abort(self) -> None:
        self._connection.abort()

    async def _start(self, status: int, headers: list[Header]) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _judge_end(self, last: bytes, pod: str) -> None:
        if _DONE in last[-64:]:
            self._record.ended(last)
            return
        event = last.rstrip().rpartition(b"\n\n")[2].removeprefix(b"data:").strip()
        refusal = read_error_event(event, pod)
        self._record.code = "incomplete" if refusal is None else refusal.code


def lost(pod: str) -> Refusal:
    """What the client of a stream is told when its pod is gone in the middle."""
    return refused(PaddockError(Code.POD_UNREACHABLE, "The pod that answered is gone in the middle of its answer: what "
                                "came so far is not complete; send the request again."), pod=pod)


async def _discard(task: asyncio.Task[Opened]) -> None:
    """Nobody wants the result any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        with contextlib.suppress(GaveUp, Exception):
            task.result().close()


