"""The client's connection, as far as a response must know it: is it taking bytes, and how to cut it.

uvicorn's protocol is extended by what ASGI leaves out: bounded write buffers, a way to abort a reader that stalls
(closing politely would wait for it), and errors of the parser in OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Protocol, cast

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from paddock_api.errors import Code, PaddockError

# With what the lifecycle buffers of a job's text, a slow reader holds at most 64 KiB of this process.
HIGH_WATER = 8 << 10
LOW_WATER = 4 << 10
# The kernel would else buffer megabytes for a reader that has stopped; it doubles this.
SOCKET_SEND_BUFFER = 32 << 10
_EXTENSION = "paddock.connection"
_SEND = "paddock.send"


class Stalled(Exception):
    """The reader took nothing for too long."""


class Connection(Protocol):
    async def writable(self, stall: float) -> None:
        """Returns when the buffer has room. Raises Stalled if the reader takes nothing for `stall` seconds."""
        ...

    def abort(self) -> None:
        """Cut it now; what is buffered is dropped."""
        ...


class _Untracked:
    """For servers that hand us no connection: their own `send` is the only flow control."""

    async def writable(self, stall: float) -> None:
        return None

    def abort(self) -> None:
        return None


_UNTRACKED = _Untracked()


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


def connection_of(scope: Scope) -> Connection:
    return cast(Connection, scope.get("extensions", {}).get(_EXTENSION, _UNTRACKED))


def remembering_send(app: ASGIApp) -> ASGIApp:
    """Outermost: a streamed answer may send its tokens by the server's own `send`, past every layer in between."""

    async def remember(scope: Scope, receive: Receive, send: Send) -> None:
        scope[_SEND] = send
        await app(scope, receive, send)

    return remember


def direct_send(scope: Scope) -> Send | None:
    """The server's own `send`: for a response's body, after its headers went the way through all layers."""
    return cast(Send | None, scope.get(_SEND))


class PaddockProtocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._connection = SocketConnection(transport, self.flow)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope = cast(dict[str, Any], self.scope)
        scope["extensions"] = {_EXTENSION: self._connection}

    def send_400_response(self, msg: str) -> None:
        error = PaddockError(Code.INVALID_REQUEST, "This is not a valid HTTP/1.1 request.")
        body = msgspec.json.encode(error.body())
        self.transport.write(b"".join([
            STATUS_LINE[400], b"content-type: application/json\r\nconnection: close\r\n",
            b"content-length: %d\r\n\r\n" % len(body), body,
        ]))
        self.transport.close()
