"""/metrics, /livez and /readyz."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from paddock_operator.metrics import CONTENT_TYPE, Metrics
from paddock_operator.settings import Address

# Says what is wrong; None when nothing is.
Check = Callable[[], str | None]


@asynccontextmanager
async def serving(address: Address, metrics: Metrics, *, alive: Check, ready: Check) -> AsyncIterator[int]:
    """Gives the port: that of `address`, or a free one for 0. Raises OSError."""
    async def show(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def livez(_: web.Request) -> web.Response:
        return _probe(alive())

    async def readyz(_: web.Request) -> web.Response:
        return _probe(ready())

    application = web.Application()
    application.add_routes([web.get("/metrics", show), web.get("/livez", livez), web.get("/readyz", readyz)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _probe(wrong: str | None) -> web.Response:
    if wrong is None:
        return web.json_response({"status": "ok"})
    return web.json_response({"status": "failed", "reason": wrong}, status=503)
