"""The listening socket and the uvicorn server on it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from paddock_runtime.server.connection import SOCKET_SEND_BUFFER, PaddockProtocol, remembering_send


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known before anything is started. Raises OSError.

    Accepted connections inherit the small send buffer: a slow reader is noticed after kilobytes, not megabytes.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                            flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_SEND_BUFFER)
        listener.bind(address)
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


def make_server(app: ASGIApp, *, graceful_seconds: int) -> Server:
    """`graceful_seconds`: how long requests may still run after `should_exit`, before they are cancelled."""
    return Server(uvicorn.Config(
        remembering_send(app),
        http=PaddockProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=graceful_seconds,
        h11_max_incomplete_event_size=None,
    ))
