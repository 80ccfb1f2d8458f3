"""One attempt at one pod: a small real server that answers in pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from paddock_api.errors import Code, PaddockError
from paddock_gateway.access.tokens import Tokens
from paddock_gateway.fleet.snapshot import Pod
from paddock_gateway.proxy.upstream import Ask, Opened, Upstream, make_session
from paddock_gateway.proxy.verdict import Refusal, Verdict
from tests.unit.gateway.fleet_kit import POOL, model

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Attempt = Callable[[Handler], Awaitable[Opened | Refusal]]


@pytest.fixture
async def attempt(tmp_path: Path) -> AsyncIterator[Attempt]:
    """Sends a request to a pod that answers so."""
    token = tmp_path / "token"
    token.write_text("r" * 32)
    session = make_session()
    runners: list[web.AppRunner] = []

    async def send(handler: Handler) -> Opened | Refusal:
        application = web.Application()
        application.router.add_post("/v1/completions", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pod = Pod(name="p", pool=POOL, url=f"http://127.0.0.1:{runner.addresses[0][1]}")
        now = asyncio.get_running_loop().time()
        ask = Ask(path="/v1/completions", model=model().id, body=b"{}", stream=False, tenant="t", request_id="r",
                  hold_until=now + 5, deadline=now + 5)
        return await asyncio.wait_for(Upstream(session, Tokens(token)).send(ask, pod), 30)

    yield send
    await session.close()
    for runner in runners:
        await runner.cleanup()


def _in_pieces(status: int, body: bytes, *, pieces: int = 3, **headers: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json", **headers})
        response.content_length = len(body)
        await response.prepare(request)
        step = len(body) // pieces + 1
        for start in range(0, len(body), step):
            await response.write(body[start:start + step])
            await asyncio.sleep(0.05)
        return response

    return handle


@pytest.mark.parametrize(("code", "verdict"), [(Code.INVALID_GRAMMAR, Verdict.FINAL), (Code.NO_FIT, Verdict.NO_FIT),
                                               (Code.QUEUE_FULL, Verdict.BUSY)])
async def test_an_error_is_read_to_its_end_in_however_many_pieces_it_comes(
        attempt: Attempt, code: Code, verdict: Verdict) -> None:
    error = PaddockError(code, "it said so", param="grammar", retry_after=7)
    refusal = await attempt(_in_pieces(error.status, json.dumps(error.body()).encode()))
    assert isinstance(refusal, Refusal)
    assert (refusal.verdict, refusal.status, refusal.code, refusal.message, refusal.param, refusal.retry_after) == (
        verdict, error.status, code.value, "it said so", "grammar", 7)


async def test_an_endless_error_is_not_read_to_its_end(attempt: Attempt) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=400)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 8192)

    refusal = await attempt(handle)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (502, "pod_unreachable")


async def test_what_a_pod_sends_elsewhere_is_not_followed(attempt: Attempt) -> None:
    """Its token would go along."""
    seen: list[Any] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        raise web.HTTPTemporaryRedirect(str(request.url))

    assert isinstance(await attempt(handle), Refusal)
    assert len(seen) == 1
