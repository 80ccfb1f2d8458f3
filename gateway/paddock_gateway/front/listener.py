"""Listening sockets and the uvicorn servers on them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn._types import ASGI3Application

from paddock_gateway.front.connection import SOCKET_SEND_BUFFER, Bounds, GatewayProtocol
from paddock_gateway.settings import Address

KEEP_ALIVE_SECONDS = 75
# A client whose machine is gone says nothing of it: while its request waits, only the kernel can ask.
_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def bind(address: Address) -> socket.socket:
    """A listening socket, so that a taken port is known before anything is started. Raises OSError.

    Accepted connections inherit the small send buffer: a slow reader is noticed after kilobytes, not megabytes; and the
    probes that notice a client that is gone without a word.
    """
    family, kind, protocol, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM,
                                                          flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_SEND_BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES.items():
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        listener.bind(place)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: who runs it decides what a signal means."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(app: ASGI3Application, *, graceful_seconds: float, bounds: Bounds) -> Server:
    """`graceful_seconds`: how long requests may still run after `should_exit`, before they are cancelled."""
    protocol = type("BoundedProtocol", (GatewayProtocol,), {"bounds": bounds})
    return Server(uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(graceful_seconds) or 1,
    ))
