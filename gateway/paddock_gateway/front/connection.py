"""A client's connection: is it taking bytes, how to cut it, and how much of a request it may send how slowly.

uvicorn's protocol is extended by what ASGI leaves out: bounded write buffers, an end for readers and senders that
stall, a bound on heads, errors of the parser in OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, cast

import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from paddock_api.errors import Code, PaddockError

# With what is read ahead of a pod (16 KiB), a slow reader holds well under 64 KiB of this process.
HIGH_WATER = 16 << 10
LOW_WATER = 8 << 10
# The kernel would else buffer megabytes for a reader that has stopped; it doubles this.
SOCKET_SEND_BUFFER = 32 << 10
MAX_HEAD_BYTES = 32 << 10
_HEAD_SECONDS = 30.0
_EXTENSION = "paddock.connection"
_ONCE = frozenset({b"content-length", b"transfer-encoding", b"host", b"authorization", b"content-type"})
_HTTP_431 = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


class Stalled(Exception):
    """The reader took nothing for too long."""


class Connection(Protocol):
    async def writable(self, stall: float) -> None:
        """Returns when the buffer has room. Raises Stalled if the reader takes nothing for `stall` seconds."""
        ...

    def abort(self) -> None:
        """Cut it now; what is buffered is dropped."""
        ...


class SocketConnection:
    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow

    async def writable(self, stall: float) -> None:
        left = self._transport.get_write_buffer_size()
        while self._flow.write_paused and not self._transport.is_closing():
            try:
                async with asyncio.timeout(stall):
                    await self._flow.drain()
            except TimeoutError:
                now = self._transport.get_write_buffer_size()
                if now >= left:
                    raise Stalled from None
                left = now

    def abort(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            # No lingering: the kernel drops its buffer too, and the reader sees a reset rather than an end.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def connection_of(scope: Any) -> Connection:
    return cast(Connection, scope["extensions"][_EXTENSION])


class Bounds(NamedTuple):
    connections: int = 8192
    head_seconds: float = _HEAD_SECONDS


class GatewayProtocol(HttpToolsProtocol):
    bounds = Bounds()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._connection = SocketConnection(transport, self.flow)
        self._in_head = True
        self._head_bytes = 0  # since the last end of a head or piece of a body: those of heads, and of trailers
        self._patience: asyncio.TimerHandle | None = None
        self._begun: RequestResponseCycle | None = None
        if len(self.connections) > self.bounds.connections:
            transport.close()
            return
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_patience()
        super().connection_lost(exc)
        if (begun := self._begun) is not None and not begun.response_complete:
            # uvicorn tells the last request that came, which is not the one that is served if more were sent ahead
            begun.disconnected = True
            begun.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_HTTP_431, f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")
        elif (cycle := self._current) is None or cycle.response_complete:
            self._be_patient()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers are dropped: what comes after a body was in no check of the head."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        scope = cast(dict[str, Any], self.scope)
        scope["extensions"] = {_EXTENSION: self._connection}

    def on_headers_complete(self) -> None:
        fault = head_fault(self.headers)
        if fault is not None:
            raise ValueError(fault)  # the parser stops, and the client gets a 400
        self._in_head, self._head_bytes = False, 0
        self._stop_patience()
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._begun = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        self._out_of_patience()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True

    def send_400_response(self, msg: str) -> None:
        self._refuse(STATUS_LINE[400], "This is not a valid HTTP/1.1 request.")

    def _refuse(self, line: bytes, message: str) -> None:
        if self.transport.is_closing():
            return
        cycle = self._begun
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self._connection.abort()  # an answer may be half sent: nothing can be said any more
            return
        body = msgspec.json.encode(PaddockError(Code.INVALID_REQUEST, message).body())
        self.transport.write(b"".join([
            line, b"content-type: application/json\r\nconnection: close\r\n",
            b"content-length: %d\r\n\r\n" % len(body), body,
        ]))
        self._close()

    def _be_patient(self) -> None:
        """A request's head must be complete in time, however the bytes trickle in."""
        if self._patience is None:
            self._patience = self.loop.call_later(self._wait(), self._out_of_patience)

    def _wait(self) -> float:
        return self.bounds.head_seconds if self._current is None else float(self.timeout_keep_alive)

    @property
    def _current(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # None before the first request

    def _stop_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _out_of_patience(self) -> None:
        self._patience = None
        if not self.transport.is_closing():
            self._close()

    def _close(self) -> None:
        """What is buffered still goes out, but for no longer than a head may take: some take nothing, for ever."""
        self.transport.close()
        self._stop_patience()
        self._patience = self.loop.call_later(self.bounds.head_seconds, self._connection.abort)


def head_fault(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """What could make two servers read one request differently: framing said twice or in two ways, and names that some
    servers take for others (`content_length`)."""
    names = [name for name, _ in headers]
    twice = next((name for name in _ONCE if names.count(name) > 1), None)
    if twice is not None:
        return f"{twice.decode()} is given twice"
    if b"content-length" in names and b"transfer-encoding" in names:
        return "content-length beside transfer-encoding"
    twin = next((name for name in names if b"_" in name and name.replace(b"_", b"-") in _ONCE), None)
    return None if twin is None else "a header's name is spelled with _"
