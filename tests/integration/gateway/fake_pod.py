"""A runtime pod that speaks its protocol and does on command what real ones do only by misfortune.

It has no engine: a load takes `load_seconds` (and, with `loads_wait`, until `finish_loads`), an answer is scripted.
`requests` is what reached it, in order.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from aiohttp import web

from paddock_api.errors import Code, PaddockError

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
_DEADLINE = 60.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def model(self) -> str:
        return self.headers["paddock-model"]


Behaviour = Callable[["FakePod", web.Request, Seen], Awaitable[web.StreamResponse]]


def _listener(address: str, port: int) -> socket.socket:
    """With the small send buffer of real pods: loopback's own would hide megabytes."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)
    listener.bind((address, port))
    return listener


def own_address() -> str:
    """An address of this machine that is not loopback: EndpointSlices take no other. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
    return address


@dataclass(kw_only=True)
class FakePod:
    """`with FakePod(name=…) as pod`. `models`: phase by namespace/name. Everything but plain attributes is called from
    the test's thread and runs in the pod's."""

    name: str
    token: str
    models: dict[str, str] = field(default_factory=dict)
    load_seconds: float = 0.0
    loads_wait: bool = False
    needs: dict[str, int] = field(default_factory=dict)
    budget: int = 1 << 30
    behaviour: Behaviour | None = None
    requests: list[Seen] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    cancelled: list[float] = field(default_factory=list)
    sent: int = 0
    generation: int = 1
    port: int = 0

    def __enter__(self) -> Self:
        self.address = own_address()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        assert self._ready.wait(_DEADLINE)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As a pod that is gone: its port refuses."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(_DEADLINE)
        assert not self._thread.is_alive()

    # --- what it says of itself

    def become(self, model: str, phase: str) -> None:
        self._call(self._become(model, phase))

    def finish_loads(self) -> None:
        """Loads that wait (`loads_wait`) become ready."""
        self._loop.call_soon_threadsafe(self._go.set)

    def configure(self, models: dict[str, str]) -> None:
        """A new configuration, with other Models."""
        self._call(self._configure(models))

    def say(self, type: str, **fields: Any) -> None:
        """An event of any kind."""
        self._call(self._publish(type, **fields))

    def state(self) -> dict[str, Any]:
        return {
            "pod": self.name, "epoch": self._epoch, "sequence": self._sequence, "version": "test",
            "config_generation": self.generation, "config_hash": "x", "draining": False, "engines": [],
            "memory": {"budget_bytes": self.budget, "charged_bytes": 0, "measured_bytes": 0},
            "models": [{"namespace": name.partition("/")[0], "name": name.partition("/")[2], "revision": "r1",
                        "phase": phase, "estimated_bytes": self.needs.get(name)}
                       for name, phase in self.models.items()]}

    # --- inside

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_DEADLINE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._epoch, self._sequence = f"life-{time.monotonic_ns()}", 0
        self._end, self._go = asyncio.Event(), asyncio.Event()
        self._listeners: set[asyncio.Queue[bytes]] = set()
        self._loading: dict[str, asyncio.Task[None]] = {}
        application = web.Application(client_max_size=64 << 20)
        application.router.add_get("/events", self._events)
        application.router.add_get("/state", self._state)
        application.router.add_post("/v1/{rest:.*}", self._inference)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.SockSite(runner, _listener(self.address, self.port))
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._end.wait()
        for task in self._loading.values():
            task.cancel()
        await runner.cleanup()

    def _authorised(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.token}"

    async def _state(self, request: web.Request) -> web.StreamResponse:
        if not self._authorised(request):
            return error(PaddockError(Code.INVALID_API_KEY, "wrong token"))
        return web.json_response(self.state())

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if not self._authorised(request):
            return error(PaddockError(Code.INVALID_API_KEY, "wrong token"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        queue.put_nowait(f"event: snapshot\nid: x\ndata: {json.dumps(self.state())}\n\n".encode())
        self._listeners.add(queue)
        try:
            while True:
                await response.write(await queue.get())
        finally:
            self._listeners.discard(queue)

    async def _publish(self, type: str, **fields: Any) -> None:
        self._sequence += 1
        event = {"epoch": self._epoch, "sequence": self._sequence, "time": time.time(), "type": type, "data": {},
                 **fields}
        for queue in self._listeners:
            queue.put_nowait(f"event: change\ndata: {json.dumps(event)}\n\n".encode())

    async def _become(self, model: str, phase: str) -> None:
        before, self.models[model] = self.models.get(model, "Absent"), phase
        await self._publish("phase", model=model, revision="r1", data={"from": before, "to": phase})

    async def _configure(self, models: dict[str, str]) -> None:
        self.models, self.generation = dict(models), self.generation + 1
        await self._publish("config", data={"generation": self.generation, "hash": "x"})

    async def _inference(self, request: web.Request) -> web.StreamResponse:
        if not self._authorised(request):
            return error(PaddockError(Code.INVALID_API_KEY, "wrong token"))
        seen = Seen(path=request.path, headers={name.lower(): value for name, value in request.headers.items()},
                    raw_headers=list(request.raw_headers), body=await request.read())
        self.requests.append(seen)
        try:
            if self.behaviour is not None:
                return await self.behaviour(self, request, seen)
            await self.loaded(seen.model)
            return await talk(self, request, seen)
        except asyncio.CancelledError:
            self.cancelled.append(time.monotonic())
            raise

    async def told(self) -> None:
        """Until `finish_loads`, for behaviours that wait for the test."""
        await self._go.wait()

    async def loaded(self, model: str) -> None:
        """Loads it if it is not in memory; one load for all that wait, and none of them ends it by leaving."""
        if self.models.get(model) == "Ready":
            return
        if model not in self._loading:
            self._loading[model] = asyncio.create_task(self._load(model))
        await asyncio.shield(self._loading[model])

    async def _load(self, model: str) -> None:
        self.loads.append(model)
        await self._become(model, "Loading")
        await asyncio.sleep(self.load_seconds)
        if self.loads_wait:
            await self._go.wait()
        await self._become(model, "Ready")
        del self._loading[model]


# --- behaviours


def error(failure: PaddockError, **headers: str) -> web.Response:
    return web.json_response(failure.body(), status=failure.status, headers={**failure.headers(), **headers})


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}).encode() + b"\n\n"


def whole(text: str, model: str = "m") -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}}


async def begin(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Pod-Secret": "no"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def talk(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
    """A small good answer that names the pod."""
    body = json.loads(seen.body)
    if seen.path == "/v1/embeddings":
        return web.json_response({
            "object": "list", "model": body["model"], "usage": {"prompt_tokens": 1, "total_tokens": 1},
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]})
    if not body.get("stream"):
        return web.json_response(whole(f"from {pod.name}", body["model"]), headers={"X-Pod-Secret": "no"})
    response = await begin(request)
    for text in ("from ", pod.name):
        await response.write(chunk(text))
    await response.write(DONE)
    return response


def refuse(code: Code, message: str = "no", *, header: dict[str, str] | None = None, **fields: Any) -> Behaviour:
    async def behave(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        return error(PaddockError(code, message, **fields), **(header or {}))

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One after the other, the last for good."""
    left = list(behaviours)

    async def behave(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(pod, request, seen)

    return behave


async def vanish(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
    """The connection breaks before any answer."""
    cut(request)
    await asyncio.sleep(_DEADLINE)
    raise AssertionError("a broken connection ends its handler")


def cut(request: web.Request) -> None:
    transport = request.transport
    assert isinstance(transport, asyncio.Transport)
    transport.abort()
