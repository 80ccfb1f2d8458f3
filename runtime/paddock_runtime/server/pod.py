"""One pod in one process: configuration source, lifecycle, renderer and HTTP server, from start to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from paddock_api.errors import PaddockError
from paddock_runtime.bus import Bus
from paddock_runtime.config import DirectorySource, Snapshot
from paddock_runtime.engine.types import EngineType
from paddock_runtime.lifecycle import Limits, Supervisor
from paddock_runtime.logs import log_event
from paddock_runtime.render import Renderer
from paddock_runtime.server.app import create_app
from paddock_runtime.server.context import Context, Settings
from paddock_runtime.server.listener import make_server
from paddock_runtime.store import FileStore

logger = logging.getLogger("paddock.server")

_CLOSE_CONNECTIONS = 5  # seconds for answers that are on their way when all work has ended


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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`drain`: seconds that running requests get at the end. `snapshot` was read from `source` already."""

    source: DirectorySource
    snapshot: Snapshot
    store: FileStore
    engine_types: Sequence[EngineType]
    listener: socket.socket
    memory_bytes: int
    version: str
    drain: float = 30.0
    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)


async def run(plan: Plan, stop: StopSignal) -> None:
    """Serve until `stop`, then drain. Leaves no process, task or descriptor behind."""
    bus = Bus()
    bus.listen(log_event)
    supervisor = Supervisor(plan.store, plan.engine_types, bus, memory_bytes=plan.memory_bytes, version=plan.version,
                            limits=plan.limits)
    async with _renderer() as renderer:
        warming = asyncio.create_task(_warm(renderer))
        context = Context(service=supervisor, render=renderer.render, bus=bus, settings=plan.settings,
                          alive=supervisor.alive)
        server = make_server(create_app(context), graceful_seconds=_CLOSE_CONNECTIONS)
        await supervisor.start()
        supervisor.apply(plan.snapshot.config)
        serving = asyncio.create_task(server.serve(sockets=[plan.listener]))
        following = asyncio.create_task(_follow(plan.source, supervisor))
        asked = asyncio.create_task(stop.asked.wait())
        try:
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            await _end(supervisor, plan.drain, stop)
            context.ending.set()
            server.should_exit = True
            server.force_exit = stop.forced.is_set()
            await serving
        finally:
            for task in (following, asked, warming):
                task.cancel()
            await asyncio.gather(following, asked, warming, return_exceptions=True)
            await supervisor.close()


async def _end(supervisor: Supervisor, seconds: float, stop: StopSignal) -> None:
    """Drain for at most `seconds`, or until the second signal."""
    draining = asyncio.create_task(supervisor.drain(seconds))
    forced = asyncio.create_task(stop.forced.wait())
    await asyncio.wait({draining, forced}, return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, forced):
        task.cancel()
    await asyncio.gather(draining, forced, return_exceptions=True)


async def _follow(source: DirectorySource, supervisor: Supervisor) -> None:
    """Apply what changes in the directory. What can't be used is said, and what is in force stays."""
    async for snapshot in source.watch():
        for notice in snapshot.notices:
            logger.info("manifest passed over: %s", notice)
        if snapshot.error is not None:
            logger.error("the manifests have errors, the last good ones stay in force: %s", snapshot.error)
            supervisor.reject(snapshot.config.generation, snapshot.error)
            continue
        try:
            supervisor.apply(snapshot.config)
        except PaddockError as error:
            logger.error("the manifests can't be used, the last good ones stay in force: %s", error.message)


async def _warm(renderer: Renderer) -> None:
    """Its worker starts while nothing waits for it; if it can't, the first chat says so."""
    try:
        await renderer.start()
    except PaddockError as error:
        logger.warning("the template renderer did not start: %s", error.message)


@contextlib.asynccontextmanager
async def _renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    try:
        yield renderer
    finally:
        await renderer.close()
