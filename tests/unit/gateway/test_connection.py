"""Connections of clients that keep no rules: a small real server, and raw bytes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable

from paddock_gateway.access.folder import KeyFolder
from paddock_gateway.fleet.world import World
from paddock_gateway.front.answers import answer
from paddock_gateway.front.app import Application
from paddock_gateway.front.connection import MAX_HEAD_BYTES, Bounds
from paddock_gateway.front.inference import Inference
from paddock_gateway.front.listener import Server, bind, make_server
from paddock_gateway.metrics import Metrics
from paddock_gateway.settings import Address
from tests.unit.gateway.fleet_kit import model, until

_POST = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"

Talk = Callable[[Any, ASGIReceiveCallable, ASGISendCallable], Coroutine[Any, Any, None]]


@asynccontextmanager
async def _serving(app: Talk | ASGI3Application, *, head_seconds: float = 30) -> AsyncIterator[Server]:
    listener = bind(Address("127.0.0.1", 0))
    server = make_server(cast(ASGI3Application, app), graceful_seconds=1, bounds=Bounds(head_seconds=head_seconds))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        await task


async def _client(server: Server) -> socket.socket:
    """One that takes little before it must read."""
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(client, server.servers[0].sockets[0].getsockname())
    return client


async def _send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


async def _body(receive: ASGIReceiveCallable) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    return body


async def test_trailers_are_no_headers() -> None:
    """They come after all checks of the head, and who stands before a gateway does not look at them."""
    seen: list[tuple[list[bytes], bytes]] = []

    async def app(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        body = await _body(receive)
        seen.append(([name for name, _ in scope["headers"]], body))
        await answer(send, 200, b"")

    async with _serving(app) as server:
        with await _client(server) as client:
            await _send(client, _CHUNKED + b"Authorization: Bearer x\r\nX-Request-Id: y\r\n\r\n")
            assert (await asyncio.get_running_loop().sock_recv(client, 100)).startswith(b"HTTP/1.1 200 ")
    assert seen == [([b"host", b"transfer-encoding"], b"{}")]


async def test_trailers_and_extensions_of_chunks_are_bounded() -> None:
    """They are no bytes of the body, whose limit they never reach."""
    for endless in (b"a: b\r\n", b"a" * 10, b"; x"):
        ended = asyncio.Event()

        async def app(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable,
                      ended: asyncio.Event = ended) -> None:
            await _body(receive)
            ended.set()

        start = _CHUNKED if endless != b"; x" else _CHUNKED.removesuffix(b"0\r\n") + b"2"
        async with _serving(app) as server:
            with await _client(server) as client:
                await _send(client, start)
                sent = 0
                while not ended.is_set():
                    try:
                        await _send(client, endless * 100)
                    except OSError:
                        break
                    sent += 100 * len(endless)
                    assert sent < 20 * MAX_HEAD_BYTES
                    await asyncio.sleep(0.001)
                await asyncio.wait_for(ended.wait(), 30)


async def test_who_leaves_is_missed_though_it_had_sent_more_ahead() -> None:
    left = asyncio.Event()

    async def app(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await _body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone: asyncio.Task[Any] = asyncio.create_task(receive())  # type: ignore[arg-type]  # an awaitable that is a coroutine
        while not gone.done():
            await send({"type": "http.response.body", "body": b": life\n\n", "more_body": True})
            await asyncio.sleep(0.01)
        left.set()

    async with _serving(app) as server:
        with await _client(server) as client:
            await _send(client, (_POST + b"Content-Length: 2\r\n\r\n{}") * 2)
            await until(lambda: server.server_state.tasks)
            await asyncio.sleep(0.05)
        await asyncio.wait_for(left.wait(), 30)


async def test_nonsense_behind_an_answer_that_has_begun_is_not_answered_in_its_middle() -> None:
    async def app(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await _body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    async with _serving(app) as server:
        with await _client(server) as client:
            await _send(client, (_POST + b"Content-Length: 2\r\n\r\n{}") * 2)
            loop = asyncio.get_running_loop()
            got = await loop.sock_recv(client, 4096)
            assert got.startswith(b"HTTP/1.1 200 ")
            await _send(client, b"\x00nonsense\r\n\r\n")
            try:
                while piece := await asyncio.wait_for(loop.sock_recv(client, 4096), 1):
                    got += piece
            except (ConnectionResetError, TimeoutError):
                pass
    assert b"HTTP/1.1 400" not in got


async def test_who_takes_nothing_of_a_last_answer_is_cut() -> None:
    """The connection is to be closed once everything is sent, which is never."""
    async def app(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await _body(receive)
        await answer(send, 200, b"x" * (1 << 20), [(b"connection", b"close")])

    async with _serving(app, head_seconds=0.3) as server:
        with await _client(server) as client:
            await _send(client, _POST + b"Content-Length: 2\r\n\r\n{}")
            await until(lambda: server.server_state.total_requests)
            await until(lambda: not server.server_state.connections)


async def test_who_asks_and_asks_and_takes_nothing_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """Answers of the gateway itself wait for a client no longer than those of pods."""
    world = World()
    world.set_models([model(f"m-{'x' * 50}-{number}") for number in range(500)])
    world.settle()
    application = Application(world, KeyFolder(None, allow_anonymous=True), cast(Inference, None), Metrics(), stall=0.3)
    caplog.set_level(logging.INFO, "paddock.gateway.access_log")
    async with _serving(application) as server:
        with await _client(server) as client:
            for _ in range(20):
                await _send(client, b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: 499 in [getattr(line, "status", 0) for line in caplog.records])
            await until(lambda: not server.server_state.connections)
    ends = [(getattr(line, "status", 0), getattr(line, "code", None)) for line in caplog.records
            if line.getMessage() == "request"]
    assert ends[-1] == (499, "client_stalled")
    assert set(ends[:-1]) == {(200, None)}
    assert not [line for line in caplog.records if line.levelno >= logging.ERROR]


def test_a_client_whose_machine_is_gone_is_noticed() -> None:
    with bind(Address("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        with listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
