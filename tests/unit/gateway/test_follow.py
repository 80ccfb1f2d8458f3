"""Following a pod's `/events`: a small real server, and what the World knows of it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from paddock_api.identity import ModelId
from paddock_api.state import Phase
from paddock_gateway.access.tokens import Tokens
from paddock_gateway.fleet.follow import Followers
from paddock_gateway.fleet.world import Endpoint, PodKey, World
from paddock_gateway.proxy.upstream import make_session
from tests.unit.gateway.fleet_kit import POOL, event_json, state_json, until

_KEY = PodKey(POOL, "default-runtime-0")
_GEMMA = ModelId("team", "gemma")


class Pod:
    """Says what the test tells it to; `connections` counts who came for events."""

    def __init__(self) -> None:
        self.state = state_json({"phase": "Cached"})
        self.status = 200
        self.ends_at_once = False
        self.connections = self.states = 0
        self.tokens: set[str] = set()
        self._queues: list[asyncio.Queue[bytes | None]] = []
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/events", self._events)
        application.router.add_get("/state", self._state)
        self._runner = web.AppRunner(application, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", self.port))
        await web.SockSite(self._runner, listener).start()
        self.port = listener.getsockname()[1]

    async def stop(self) -> None:
        self.hang_up()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def say(self, event: bytes) -> None:
        for queue in self._queues:
            queue.put_nowait(b"event: change\ndata: " + event + b"\n\n")

    def hang_up(self) -> None:
        for queue in self._queues:
            queue.put_nowait(None)

    async def _state(self, request: web.Request) -> web.Response:
        self.states += 1
        return web.Response(body=self.state)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        self.tokens.add(request.headers.get("Authorization", ""))
        if self.status != 200:
            return web.Response(status=self.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": life\n\nevent: snapshot\ndata: " + self.state + b"\n\n")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.append(queue)
        try:
            while not self.ends_at_once and (event := await queue.get()) is not None:
                await response.write(event)
        finally:
            self._queues.remove(queue)
        return response


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    pod = Pod()
    await pod.start()
    yield pod
    await pod.stop()


@pytest.fixture
async def world(pod: Pod, tmp_path: Path) -> AsyncIterator[Any]:
    """A World whose followers run, and the followers."""
    file = tmp_path / "token"
    file.write_text("r" * 32)
    session, world = make_session(), World()
    followers = Followers(world, session, Tokens(file))
    world.put_slice(("ns", "s"), (Endpoint(key=_KEY, url=pod.url, ready=True),))
    yield world, followers
    await followers.close()
    await session.close()


def _phase(world: World) -> Phase | None:
    view = world.views().get(_KEY)
    return None if view is None else view.models[_GEMMA].phase


async def test_events_are_followed_with_the_token_of_the_pool(world: Any, pod: Pod) -> None:
    known, followers = world
    assert not followers.settled
    await until(lambda: _phase(known) is Phase.CACHED)
    assert followers.settled
    pod.say(event_json(8, "phase", model="team/gemma", data={"to": "Ready"}))
    await until(lambda: _phase(known) is Phase.READY)
    assert len(pod.tokens) == 1
    assert len(next(iter(pod.tokens))) == len("Bearer ") + 64
    assert pod.connections == 1


async def test_a_new_configuration_is_asked_for_as_a_whole(world: Any, pod: Pod) -> None:
    known, _ = world
    await until(lambda: _phase(known) is Phase.CACHED)
    pod.state = state_json({"name": "fresh"}, sequence=8, config_generation=4)
    pod.say(event_json(8, "config", data={"generation": 4}))
    await until(lambda: ModelId("team", "fresh") in known.views()[_KEY].models)
    assert _GEMMA not in known.views()[_KEY].models
    assert (pod.states, pod.connections) == (1, 1)


async def test_a_gap_makes_a_new_connection(world: Any, pod: Pod) -> None:
    known, _ = world
    await until(lambda: _phase(known) is Phase.CACHED)
    pod.state = state_json({"phase": "Ready"}, sequence=20)
    pod.say(event_json(12, "memory"))
    await until(lambda: _phase(known) is Phase.READY)
    assert pod.connections == 2


async def test_a_pod_that_is_gone_holds_nothing_until_it_is_back(world: Any, pod: Pod) -> None:
    known, _ = world
    await until(lambda: _phase(known) is Phase.CACHED)
    await pod.stop()
    await until(lambda: _phase(known) is None)
    pod.state = state_json({"phase": "Ready"}, epoch="another life")
    await pod.start()
    await until(lambda: _phase(known) is Phase.READY)
    assert pod.connections >= 2


async def test_a_pod_that_refuses_holds_nothing_and_is_said_once(
        world: Any, pod: Pod, caplog: pytest.LogCaptureFixture) -> None:
    known, _ = world
    await until(lambda: _phase(known) is Phase.CACHED)
    with caplog.at_level(logging.INFO):
        pod.status = 401
        pod.hang_up()
        await until(lambda: _phase(known) is None)
        seen = pod.connections
        await until(lambda: pod.connections > seen + 2)
    assert [getattr(each, "reason", "") for each in caplog.records] == ["PodRefuses: HTTP 401"]


async def test_a_doubt_looks_at_once_and_loses_nothing_of_a_pod_that_is_there(world: Any, pod: Pod) -> None:
    known, followers = world
    await until(lambda: _phase(known) is Phase.CACHED)
    followers.doubt(_KEY)
    assert _phase(known) is Phase.CACHED
    await until(lambda: pod.connections == 2)
    assert _phase(known) is Phase.CACHED


async def test_a_stream_that_always_ends_is_not_asked_for_all_the_time(world: Any, pod: Pod) -> None:
    known, _ = world
    pod.ends_at_once = True
    await until(lambda: _phase(known) is Phase.CACHED)
    pod.hang_up()
    before = pod.connections
    await asyncio.sleep(1)
    assert pod.connections - before < 6


async def test_another_address_is_another_pod(world: Any, pod: Pod) -> None:
    known, _ = world
    await until(lambda: _phase(known) is Phase.CACHED)
    known.put_slice(("ns", "s"), (Endpoint(key=_KEY, url="http://127.0.0.1:9", ready=True),))
    assert _phase(known) is None
    known.put_slice(("ns", "s"), (Endpoint(key=_KEY, url=pod.url, ready=True),))
    await until(lambda: _phase(known) is Phase.CACHED)
    known.put_slice(("ns", "s"), ())
    assert not known.views()
