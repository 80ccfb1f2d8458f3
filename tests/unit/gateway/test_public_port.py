"""The public and the admin port as strangers find them: keys, routes, framing, labels, logs. In this process, without
pods or an API server; tests/integration/gateway asks the same of whole gateways."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable

from paddock_gateway import logs
from paddock_gateway.access.folder import KeyFolder
from paddock_gateway.fleet.world import World
from paddock_gateway.front.admin import Admin
from paddock_gateway.front.answers import answer
from paddock_gateway.front.app import Application
from paddock_gateway.front.connection import Bounds
from paddock_gateway.front.inference import Inference
from paddock_gateway.front.listener import bind, make_server
from paddock_gateway.metrics import Gauges, Metrics
from paddock_gateway.proxy.seek import Seeker
from paddock_gateway.proxy.traffic import Traffic
from paddock_gateway.settings import Address, Settings
from tests.integration.gateway.test_smuggling import BAD
from tests.unit.gateway.fleet_kit import model, until
from tests.unit.gateway.test_keys import KEY, record

_ROUTES = [("GET", "/v1/models"), ("GET", "/v1/models/gemma"), ("POST", "/v1/chat/completions"),
           ("POST", "/v1/completions"), ("POST", "/v1/embeddings"), ("GET", "/v1/anything"), ("PUT", "/v1/models")]
_ADMIN = ["/metrics", "/livez", "/readyz", "/demand", "/state"]


@asynccontextmanager
async def _serving(app: Any) -> AsyncIterator[int]:
    """The port."""
    listener = bind(Address("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    server = make_server(cast(ASGI3Application, app), graceful_seconds=1, bounds=Bounds())
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started)
        yield port
    finally:
        server.should_exit = True
        await task


async def _talk(port: int, data: bytes) -> bytes:
    """All that comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        writer.write(data)
        while piece := await asyncio.wait_for(reader.read(65536), 30):
            got += piece
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return got


async def _ask(port: int, method: str, path: str, *, key: bytes = b"", body: bytes = b"") -> tuple[int, Any]:
    """The status and what the JSON says."""
    authorization = b"Authorization: Bearer %s\r\n" % key if key else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n".encode()
    got = await _talk(port, head + authorization + b"\r\n" + body)
    document = got.partition(b"\r\n\r\n")[2]
    return int(got.split()[1]), json.loads(document) if document[:1] == b"{" else document


class Front:
    """A gateway without pods. It is what its admin port shows, too."""

    def __init__(self, folder: Path, *, anonymous: bool) -> None:
        self.world, self.meters, self.folder = World(), Metrics(), folder
        self.world.set_models([model()])
        self.world.settle()
        traffic = Traffic(queue_per_model=10, max_requests=10, body_memory=1 << 20)
        keys = KeyFolder(None if anonymous else folder, allow_anonymous=anonymous)
        inference = Inference(self.world, traffic, cast(Seeker, None), self.meters, Settings())
        self.application = Application(self.world, keys, inference, self.meters, stall=30)

    def unready(self) -> str | None:
        return None

    def metrics(self) -> bytes:
        return self.meters.render(Gauges(uses={}, snapshot=self.world.snapshot, watches=(), body_bytes=0,
                                         connections=0))

    def demand(self) -> Mapping[str, Any]:
        return {"models": {}}

    def state(self) -> Mapping[str, Any]:
        return {"models": {}}

    def series(self) -> int:
        return sum(not line.startswith(b"#") for line in self.metrics().splitlines())


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All lines, as a gateway writes them."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    handler.setFormatter(logs.JsonFormatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


async def test_every_route_without_a_key_is_401_and_the_admin_routes_are_elsewhere(
        tmp_path: Path, log: io.StringIO) -> None:
    """Inputs 7, 11 and 12."""
    (tmp_path / "alice").write_bytes(record())
    front = Front(tmp_path, anonymous=False)
    async with AsyncExitStack() as stack:
        public = await stack.enter_async_context(_serving(front.application))
        admin = await stack.enter_async_context(_serving(Admin(front)))
        for method, path in _ROUTES:
            for key in (b"", b"wrong", KEY + b"x"):
                status, said = await _ask(public, method, path, key=key, body=b"{")
                assert (status, said["error"]["code"]) == (401, "invalid_api_key"), (method, path)
        for path in [*_ADMIN, "/", "/docs", "/models/team/gemma:load", "/blobs/x"]:
            for method in ("GET", "POST"):
                assert (await _ask(public, method, path, key=KEY))[0] == 404, path
        assert (await _ask(public, "GET", "/v1/models", key=KEY))[1]["data"][0]["id"] == "gemma"
        assert (await _ask(public, "GET", f"/v1/models?key={KEY.decode()}"))[0] == 401
        shown = [await _ask(admin, "GET", path) for path in _ADMIN]
        assert [status for status, _ in shown] == [200] * len(_ADMIN)
        for method, path in _ROUTES:
            assert (await _ask(admin, method, path))[0] == 404, "no way around the keys"
    assert KEY.decode() not in log.getvalue() + str(shown)
    assert "pk-" not in log.getvalue()


async def test_names_that_clients_make_up_are_no_series_and_no_lines(tmp_path: Path, log: io.StringIO) -> None:
    """Inputs 14 and 15."""
    front = Front(tmp_path, anonymous=True)
    before = 0
    async with _serving(front.application) as port:
        for number in range(300):
            name = json.dumps({"model": f"name-{number}\r\n{{\"level\":\"fatal\"}}\x1b[31m"}).encode()
            assert (await _ask(port, "POST", "/v1/completions", body=name))[0] == 404
            assert (await _ask(port, "GET", f"/v1/{number}%0d%0a%1b%5b31m%7b%22level%22:%22fatal%22%7d"))[0] == 404
            before = before or front.series()
    assert front.series() == before
    lines = log.getvalue().splitlines()
    assert sum(json.loads(line)["message"] == "request" for line in lines) == 600
    assert all(line.isascii() and line.isprintable() and json.loads(line)["level"] != "fatal" for line in lines)


@pytest.mark.parametrize("what", BAD)
async def test_nothing_is_smuggled(what: str) -> None:
    """Input 13."""
    bodies: list[bytes] = []

    async def app(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                bodies.append(body)
                break
        await answer(send, 200, b"")

    async with _serving(app) as port:
        got = await _talk(port, BAD[what])
    assert re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", got) == [b"400"]
    assert b"connection: close" in got
    assert not bodies
