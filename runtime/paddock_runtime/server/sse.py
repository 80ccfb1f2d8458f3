"""Server-sent events to one client: joins what is ready, keeps a silent stream alive, cuts a reader that stalls."""

from __future__ import annotations

import asyncio

from starlette.types import Send

from paddock_runtime.server.connection import Connection, Stalled

# What one send may carry, and what may wait for it: beyond that the source of the events is held back.
MAX_PENDING = 8 << 10

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class EventWriter:
    """The producer calls `feed`, then awaits `room`; `run` sends, in a task of its own.

    Events fed between two turns of the event loop leave in one send. Headers go out with the first event or after
    `headers_after` seconds; from then on `comment` goes out whenever nothing else did for `heartbeat` seconds.
    """

    def __init__(self, send: Send, connection: Connection, *, headers_after: float, heartbeat: float,
                 stall: float, headers: tuple[tuple[bytes, bytes], ...] = HEADERS) -> None:
        self.started = False
        self.comment = "waiting"
        self.heartbeat = heartbeat
        self._send = send
        self._connection = connection
        self._headers = headers
        self._headers_after = headers_after
        self._stall = stall
        self._pending: list[bytes] = []
        self._size = 0
        self._closing = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def feed(self, event: bytes) -> None:
        self._pending.append(event)
        self._size += len(event)
        if self._size >= MAX_PENDING:
            self._room.clear()
        self._wake.set()

    async def room(self) -> None:
        """Returns when there is room for more: at once unless the client reads slowly."""
        if not self._room.is_set():
            await self._room.wait()

    def close(self) -> None:
        """No more events: `run` sends what is left and returns."""
        self._closing = True
        self._wake.set()

    async def finish(self) -> None:
        """End the response. The last thing to do, since the server tells the watcher of disconnects at once."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def run(self) -> None:
        """Until `close`. Raises Stalled, with the connection aborted."""
        try:
            await self._wait(self._headers_after)
            await self._start()
            while not (self._closing and not self._pending):
                await self._flush()
                await self._wait(self.heartbeat)
        except Stalled:
            self._connection.abort()
            raise
        finally:
            self._room.set()  # nobody may wait for a writer that has ended

    async def _start(self) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": list(self._headers)})

    async def _flush(self) -> None:
        await self._connection.writable(self._stall)
        data = b"".join(self._pending) or f": {self.comment}\n\n".encode()
        self._pending.clear()
        self._size = 0
        self._wake.clear()
        self._room.set()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _wait(self, seconds: float) -> None:
        """Until there is something to do, at most `seconds`."""
        if self._pending or self._closing:
            return
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
