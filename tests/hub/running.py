"""The double on real sockets: in a thread of a test, or as the process of `python -m tests.hub`."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import uvicorn

from tests.hub import control
from tests.hub.app import Double, Receive, Scope, Send

_PATIENCE = 30.0


class _Server(uvicorn.Server):
    """Tells when it serves, and lets connections that hang on purpose not delay its end."""

    def __init__(self, app: object, sock: socket.socket) -> None:
        super().__init__(uvicorn.Config(
            app, lifespan="off", log_config=None, log_level="critical", access_log=False,  # type: ignore[arg-type] # an ASGI app
            server_header=False, date_header=False, timeout_graceful_shutdown=0, timeout_keep_alive=60))
        self.sock = sock
        self.up = threading.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override] # uvicorn's is a generator
        return nullcontext()  # two servers share a process; whoever runs them ends both

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def listen(host: str, port: int) -> socket.socket:
    sock = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setblocking(False)
    return sock


async def serve(double: Double, hub: socket.socket, store: socket.socket) -> None:
    """Until SIGTERM or SIGINT."""
    servers = _servers(double, hub, store)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, servers)
    await _run(servers)


@contextmanager
def running(double: Double) -> Iterator[str]:
    """The double in a thread; gives its endpoint. Its state may be changed and read meanwhile."""
    with listen("127.0.0.1", 0) as hub, listen("127.0.0.1", 0) as store:
        double.cdn_port = store.getsockname()[1]
        servers = _servers(double, hub, store)
        thread = threading.Thread(target=lambda: asyncio.run(_run(servers)), name="hub double")
        thread.start()
        try:
            if not all(server.up.wait(_PATIENCE) for server in servers):
                raise TimeoutError("the hub double did not start")
            yield f"http://127.0.0.1:{hub.getsockname()[1]}"
        finally:
            _stop(servers)
            thread.join(_PATIENCE)


def _servers(double: Double, hub: socket.socket, store: socket.socket) -> list[_Server]:
    async def hub_app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(control.PREFIX):
            await control.serve(double, scope, receive, send)
        else:
            await double.hub(scope, receive, send)

    async def store_app(scope: Scope, receive: Receive, send: Send) -> None:
        await double.store(scope, receive, send)

    return [_Server(hub_app, hub), _Server(store_app, store)]


def _stop(servers: list[_Server]) -> None:
    for server in servers:
        server.should_exit = server.force_exit = True


async def _run(servers: list[_Server]) -> None:
    async with asyncio.TaskGroup() as group:
        for server in servers:
            group.create_task(server.serve(sockets=[server.sock]))
