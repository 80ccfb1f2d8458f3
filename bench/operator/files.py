"""A server of many small, real GGUF files with digests of their own: one file, each time with another ending."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.hub.behaviour import Behaviour, span

_ENDING = 8


@dataclass
class Files:
    """`asked` counts requests. What is after the last tensor is part of the file, and nobody's to read."""

    data: bytes
    port: int = 0
    asked: int = 0
    _digest: Any = field(init=False)

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256(self.data)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def source(self, number: int) -> dict[str, Any]:
        """`spec.source` of one of them."""
        digest = self._digest.copy()
        digest.update(_ending(number))
        return {"http": {"url": f"http://{self.host}/{number}/tiny.gguf", "sha256": digest.hexdigest()}}

    async def serve(self, request: web.Request) -> web.Response:
        self.asked += 1
        number = int(request.match_info["number"])
        wanted = {name.lower(): value for name, value in request.headers.items()}
        found = span(len(self.data) + _ENDING, f'"{number}"', wanted, Behaviour())
        body = self.data[found.start:found.end]
        if (left := found.end - len(self.data)) > 0:
            body += _ending(number)[max(0, found.start - len(self.data)):left]
        return web.Response(status=found.status, headers=found.headers, body=body)


def _ending(number: int) -> bytes:
    return number.to_bytes(_ENDING)


@contextlib.asynccontextmanager
async def serving(data: bytes) -> AsyncIterator[Files]:
    files = Files(data)
    application = web.Application()
    application.router.add_get("/{number:[0-9]+}/tiny.gguf", files.serve)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        files.port = int(runner.addresses[0][1])
        yield files
    finally:
        await runner.cleanup()
