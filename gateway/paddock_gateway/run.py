"""One gateway in one process, from start to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from paddock_api.identity import ModelId
from paddock_gateway.access.folder import KeyFolder
from paddock_gateway.access.tokens import Tokens
from paddock_gateway.cluster.api import KubernetesApi
from paddock_gateway.cluster.discovery import Discovery
from paddock_gateway.fleet.follow import Followers
from paddock_gateway.fleet.snapshot import ModelInfo
from paddock_gateway.fleet.world import World
from paddock_gateway.front.admin import Admin, show_snapshot
from paddock_gateway.front.app import Application
from paddock_gateway.front.connection import Bounds
from paddock_gateway.front.inference import Inference
from paddock_gateway.front.listener import Server, make_server
from paddock_gateway.metrics import Gauges, Metrics
from paddock_gateway.proxy.seek import Seeker
from paddock_gateway.proxy.traffic import Traffic
from paddock_gateway.proxy.upstream import Upstream, make_session
from paddock_gateway.settings import Settings

logger = logging.getLogger("paddock.gateway")

_REFRESH_SECONDS = 1.0
_FIRST_LOOK_SECONDS = 10.0
_CLOSE_SECONDS = 5.0


class StopSignal:
    """SIGTERM or Ctrl-C: the first asks for an end, the second for one at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)

    def stop(self) -> None:
        (self.forced if self.asked.is_set() else self.asked).set()


class Gateway:
    """All parts of one gateway. `ending`: it was told to stop."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self.settings, self.tokens = settings, tokens
        self.ending = False
        self.life = uuid.uuid4().hex
        self.meters = Metrics()
        self.world = World()
        self.keys = KeyFolder(settings.keys_dir, allow_anonymous=settings.allow_anonymous)
        self.traffic = Traffic(queue_per_model=settings.queue_per_model, max_requests=settings.max_requests,
                               body_memory=settings.body_memory)
        self.session = make_session()
        self.followers = Followers(self.world, self.session, tokens)
        self.api = KubernetesApi(settings.kubeconfig)
        self.discovery = Discovery(self.api, self.world, settings.default_pool)
        seeker = Seeker(self.world, self.followers, Upstream(self.session, tokens), self.traffic, self.meters)
        self.inference = Inference(self.world, self.traffic, seeker, self.meters, settings)
        self.application = Application(self.world, self.keys, self.inference, self.meters, stall=settings.stall)
        self.world.on_models(self._forget)
        self._was_ready = False
        self._synced_at: float | None = None
        self.server: Server | None = None

    # --- what the admin port shows

    def unready(self) -> str | None:
        """Once ready, only its end makes it unready: it serves from what it knows while the API server is away."""
        if self.ending:
            return "this gateway ends"
        if self._was_ready:
            return None
        if not self.discovery.synced:
            missing = [watch.resource.kind for watch in self.discovery.watches if not watch.synced.is_set()]
            return f"not listed yet: {', '.join(missing)}"
        now = time.monotonic()
        self._synced_at = self._synced_at or now
        if not self.followers.settled and now - self._synced_at < _FIRST_LOOK_SECONDS:
            return "not every pod has told what it holds"
        self._was_ready = True
        return None

    def metrics(self) -> bytes:
        return self.meters.render(Gauges(
            uses=self.traffic.uses(), snapshot=self.world.snapshot, watches=self.discovery.watches,
            body_bytes=self.traffic.body_bytes,
            connections=len(self.server.server_state.connections) if self.server is not None else 0))

    def demand(self) -> Mapping[str, Any]:
        """Every request is in one of the two counts of one gateway, so that the sum over gateways is the demand."""
        now = time.time()
        return {"gateway": self.settings.name, "epoch": self.life, "models": {
            str(model): {"waiting": use.waiting, "answering": use.answering, "idleSeconds": round(use.idle, 3),
                         "lastUsed": round(now - use.idle, 3)}
            for model, use in sorted(self.traffic.uses().items())}}

    def state(self) -> Mapping[str, Any]:
        return {"gateway": self.settings.name, "epoch": self.life, "unready": self.unready(),
                "watches": {watch.kind: {"connected": watch.connected, "synced": watch.synced.is_set()}
                            for watch in self.discovery.watches},
                **show_snapshot(self.world.snapshot)}

    # --- running

    async def refresh(self) -> None:
        """Keys and token, whenever their files change."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            await asyncio.to_thread(self.keys.refresh)
            await asyncio.to_thread(self.tokens.refresh)

    async def close(self) -> None:
        await self.discovery.close()
        await self.followers.close()
        await self.api.close()
        await self.session.close()

    def _forget(self, models: Mapping[ModelId, ModelInfo]) -> None:
        self.traffic.forget(models)
        self.meters.forget(models)


async def run(settings: Settings, tokens: Tokens, listeners: Iterable[socket.socket], stop: StopSignal) -> None:
    """Serve on the public and the admin listener until `stop`, then drain. Leaves no task or descriptor behind."""
    public_socket, admin_socket = listeners
    gateway = Gateway(settings, tokens)
    bounds = Bounds(connections=settings.max_connections)
    public = make_server(gateway.application, graceful_seconds=settings.drain + _CLOSE_SECONDS, bounds=bounds)
    admin = make_server(Admin(gateway), graceful_seconds=1, bounds=Bounds())
    gateway.server = public
    gateway.discovery.start()
    refreshing = asyncio.create_task(gateway.refresh(), name="refresh")
    serving = [asyncio.create_task(public.serve(sockets=[public_socket]), name="public"),
               asyncio.create_task(admin.serve(sockets=[admin_socket]), name="admin")]
    asked = asyncio.create_task(stop.asked.wait())
    logger.info("gateway starts", extra={"data": {"public": public_socket.getsockname()[1],
                                                  "admin": admin_socket.getsockname()[1]}})
    try:
        await asyncio.wait({*serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        await _drain(gateway, public, serving[0], stop)
        admin.should_exit = True
        await asyncio.gather(*serving)
    finally:
        for task in (refreshing, asked, *serving):
            task.cancel()
        await asyncio.gather(refreshing, asked, *serving, return_exceptions=True)
        await gateway.close()
    logger.info("gateway has ended")


async def _drain(gateway: Gateway, public: Server, serving: asyncio.Task[None], stop: StopSignal) -> None:
    """Not ready at once, still open for the grace; then nothing new, and at the limit what is left is told so."""
    gateway.ending = True
    settings = gateway.settings
    logger.info("draining", extra={"data": {"requests": gateway.traffic.total}})
    await _unless(stop.forced, settings.grace)
    gateway.application.closed = True
    public.should_exit = True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0 if stop.forced.is_set() else settings.drain):
            forced = asyncio.create_task(stop.forced.wait())
            try:
                await asyncio.wait({serving, forced}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                forced.cancel()
    gateway.inference.cut_all()


async def _unless(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
