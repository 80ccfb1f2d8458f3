"""Server-sent events to one client: headers when there is something to say, signs of life in between, stalls noticed.

A token costs one `send` of its producer and nothing else: no task to wake, no timer to set.
"""

from __future__ import annotations

import asyncio

from starlette.types import Send

from paddock_runtime.server.connection import Connection, Stalled

# What one send may carry: with the buffers below it bounds what a slow reader holds of this process.
MAX_SEND = 8 << 10

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class EventWriter:
    """One producer awaits `send`; `close` when it ends, however it ends.

    Headers go out with the first event or after `headers_after` seconds; from then on `comment` goes out whenever
    nothing else did for `heartbeat` seconds. `body` sends what follows the headers: it may know a shorter way.
    """

    def __init__(self, send: Send, connection: Connection, *, headers_after: float, heartbeat: float, stall: float,
                 body: Send | None = None, headers: tuple[tuple[bytes, bytes], ...] = HEADERS) -> None:
        self.started = False
        self.comment = "waiting"
        self.heartbeat = heartbeat
        self._send = send
        self._body = body or send
        self._connection = connection
        self._headers = headers
        self._stall = stall
        self._loop = asyncio.get_running_loop()
        self._quiet_since = self._loop.time()
        self._beat: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(headers_after, self._look)

    async def send(self, event: bytes) -> None:
        """Returns when there is room for more: at once unless the client reads slowly. Raises Stalled, with the
        connection aborted."""
        if self._beat is not None:
            await self._beat
        await self._write(event)

    async def quiet(self) -> None:
        """No more heartbeats; one that is on its way ends first."""
        self._stop_timer()
        if self._beat is not None:
            await self._beat

    async def finish(self) -> None:
        """End the response. The last thing to do, since the server tells the watcher of disconnects at once."""
        await self._body({"type": "http.response.body", "body": b"", "more_body": False})

    def close(self) -> None:
        self._stop_timer()
        if self._beat is not None:
            self._beat.cancel()

    async def _write(self, data: bytes) -> None:
        try:
            await self._connection.writable(self._stall)
        except Stalled:
            self._connection.abort()
            raise
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(self._headers)})
        await self._body({"type": "http.response.body", "body": data, "more_body": True})
        self._quiet_since = self._loop.time()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """The timer is not set anew by each event: when it rings too early, it is set for the rest."""
        left = self._quiet_since + self.heartbeat - self._loop.time() if self.started else 0.0
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self._beat = self._loop.create_task(self._write(f": {self.comment}\n\n".encode()))
        self._beat.add_done_callback(self._beaten)

    def _beaten(self, beat: asyncio.Task[None]) -> None:
        self._beat = None
        if not beat.cancelled():
            beat.exception()  # a stall has cut the connection: the watcher of disconnects ends the producer
        if self._timer is not None:
            self._timer = self._loop.call_later(self.heartbeat, self._look)
