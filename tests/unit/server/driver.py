"""Drives the ASGI application by hand: a client that can leave, and sends that can be looked at one by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message

from paddock_runtime.metrics import Metrics
from paddock_runtime.server.app import create_app
from paddock_runtime.server.context import Context, Settings
from tests.unit.server.scripted import ScriptedService

WAIT = 20.0
CHAT = {"model": "gemma", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**CHAT, "stream": True}


async def render(template: str, **values: Any) -> str:
    return "rendered"


def make_context(service: ScriptedService, **settings: Any) -> Context:
    return Context(service=service, render=render, bus=service.bus, metrics=Metrics(), settings=Settings(**settings))


def make_app(service: ScriptedService, **settings: Any) -> ASGIApp:
    return create_app(make_context(service, **settings))


class Exchange:
    """One request and its response, as it arrives."""

    def __init__(self, method: str, path: str, body: bytes | Iterable[bytes], headers: dict[str, str]) -> None:
        self.scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "server": ("test", 80), "client": ("127.0.0.1", 1234),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
        self.bodies = iter([body] if isinstance(body, bytes) else body)
        self.read = 0
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.sends: list[bytes] = []
        self.complete = False
        self.left = asyncio.Event()
        self.changed = asyncio.Condition()

    async def receive(self) -> Message:
        part = next(self.bodies, None)
        if part is not None:
            self.read += len(part)
            return {"type": "http.request", "body": part, "more_body": True}
        if not self.scope.get("body_done"):
            self.scope["body_done"] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert self.status is None
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.sends.append(message.get("body", b""))
            if not message.get("more_body", False):
                self.complete = True
                self.left.set()
        async with self.changed:
            self.changed.notify_all()

    async def until(self, word: bytes) -> None:
        """Until the body so far holds `word`."""
        async with asyncio.timeout(WAIT), self.changed:
            await self.changed.wait_for(lambda: word in self.body)

    @property
    def body(self) -> bytes:
        return b"".join(self.sends)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of all events; `[DONE]` as it is, comments left out."""
        lines = [line.removeprefix("data: ") for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]

    def comments(self) -> list[str]:
        return [line for line in self.body.decode().split("\n") if line.startswith(":")]


def begin(app: ASGIApp, method: str, path: str, body: Any = b"",
          headers: dict[str, str] | None = None) -> tuple[Exchange, asyncio.Task[None]]:
    data = json.dumps(body).encode() if isinstance(body, dict | list) else body
    exchange = Exchange(method, path, data, headers or {})

    async def run() -> None:
        await app(exchange.scope, exchange.receive, exchange.send)

    return exchange, asyncio.create_task(run())


async def call(app: ASGIApp, method: str, path: str, body: Any = b"",
               headers: dict[str, str] | None = None) -> Exchange:
    exchange, task = begin(app, method, path, body, headers)
    async with asyncio.timeout(WAIT):
        await task
    return exchange
