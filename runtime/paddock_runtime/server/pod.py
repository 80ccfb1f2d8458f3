"""One pod in one process: configuration source, lifecycle, renderer and HTTP server, from start to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddock_api.errors import Code, PaddockError
from paddock_api.revision import Revision
from paddock_runtime.bus import Bus
from paddock_runtime.config import ConfigSource, Snapshot
from paddock_runtime.engine.types import EngineType
from paddock_runtime.jobs import Served
from paddock_runtime.lifecycle import Chat, Check, Limits, Supervisor
from paddock_runtime.logs import log_event
from paddock_runtime.openai.chat import chat_prompt
from paddock_runtime.record import Record, open_record
from paddock_runtime.render import Renderer
from paddock_runtime.server.app import create_app
from paddock_runtime.server.context import Context, Settings
from paddock_runtime.server.guard import PoolToken
from paddock_runtime.server.listener import make_server
from paddock_runtime.store import FileStore
from paddock_runtime.system.container import ContainerMemory, container_memory

logger = logging.getLogger("paddock.server")

_FOLLOW_AGAIN = 5.0  # seconds until a configuration is looked at again that could not be followed
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
    """`drain`: seconds from the first signal to the end, in the first `accept` of which new work is still taken: for
    those who have not heard of it yet. `snapshot` was read from `source` already. `pod` is one of a pool's; without it
    this is the only one, who keeps Models by their policy alone. `record`: the folder of what outlives a restart;
    `directory`: of local manifests; `prompts`: the folder of prompt caches."""

    source: ConfigSource
    snapshot: Snapshot
    store: FileStore
    engine_types: Sequence[EngineType]
    listener: socket.socket
    memory_bytes: int
    version: str
    pod: str | None = None
    record: Path | None = None
    directory: Path | None = None
    token: PoolToken | None = None
    drain: float = 30.0
    accept: float = 0.0
    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)
    container: Callable[[], ContainerMemory] = container_memory
    prompts: Path | None = None


async def run(plan: Plan, stop: StopSignal) -> None:
    """Serve until `stop`, then drain. Leaves no process, task or descriptor behind."""
    bus = Bus()
    bus.listen(log_event)
    async with _renderer() as renderer, _recording(plan) as record:
        supervisor = Supervisor(
            plan.store, plan.engine_types, bus, memory_bytes=plan.memory_bytes, pod=plan.pod or "local",
            alone=plan.pod is None, version=plan.version, limits=plan.limits, check=template_check(renderer),
            record=record, container=plan.container,
            chat=chat_of(renderer), prompts=plan.prompts)
        warming = asyncio.create_task(_warm(renderer))
        context = Context(service=supervisor, render=renderer.render, bus=bus, settings=plan.settings,
                          ailment=supervisor.ailment, pressure=supervisor.pressure, token=plan.token,
                          history=supervisor.history, directory=plan.directory, usage=supervisor)
        server = make_server(create_app(context), graceful_seconds=_CLOSE_CONNECTIONS)
        await supervisor.start()
        _apply(plan.snapshot, supervisor)
        serving = asyncio.create_task(server.serve(sockets=[plan.listener]))
        following = asyncio.create_task(_follow(plan.source, supervisor))
        asked = asyncio.create_task(stop.asked.wait())
        try:
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            await _end(supervisor, plan, stop)
            context.ending.set()
            server.should_exit = True
            server.force_exit = stop.forced.is_set()
            await serving
        finally:
            for task in (following, asked, warming):
                task.cancel()
            await asyncio.gather(following, asked, warming, return_exceptions=True)
            await supervisor.close()


async def _end(supervisor: Supervisor, plan: Plan, stop: StopSignal) -> None:
    """Take new work a little longer, then drain; or until the second signal."""
    accept = min(plan.accept, plan.drain)

    async def leave() -> None:
        supervisor.leave()
        await asyncio.sleep(accept)
        await supervisor.drain(plan.drain - accept)

    draining = asyncio.create_task(leave())
    forced = asyncio.create_task(stop.forced.wait())
    await asyncio.wait({draining, forced}, return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, forced):
        task.cancel()
    await asyncio.gather(draining, forced, return_exceptions=True)


async def _follow(source: ConfigSource, supervisor: Supervisor) -> None:
    """Apply what changes. What can't be used is said, and what is in force stays; no mistake of ours ends it."""
    while True:
        try:
            async for snapshot in source.watch():
                _apply(snapshot, supervisor)
        except Exception as error:  # a pod that follows no more looks well and is deaf
            logger.exception("the configuration could not be followed, it is looked at again")
            supervisor.reject(supervisor.generation, f"it could not be followed: {type(error).__name__}; the log says "
                              "more")
        await asyncio.sleep(_FOLLOW_AGAIN)


def _apply(snapshot: Snapshot, supervisor: Supervisor) -> None:
    for notice in snapshot.notices:
        logger.info("manifest passed over: %s", notice)
    if snapshot.error is not None:
        logger.error("the configuration has errors, the last good one stays in force: %s", snapshot.error)
        supervisor.reject(snapshot.config.generation, snapshot.error)
        return
    try:
        supervisor.apply(snapshot.config)
    except PaddockError as error:
        logger.error("the configuration can't be used, the last good one stays in force: %s", error.message)


def template_check(renderer: Renderer) -> Check:
    """Whether a Model's own chat template is one: a fault of its revision that needs no load to be known."""

    async def check(revision: Revision) -> None:
        template = revision.spec.engine.chat_template
        if template is None:
            return
        try:
            await renderer.check(template)
        except PaddockError as error:
            if error.code is Code.TEMPLATE_FAILED:
                raise PaddockError(Code.INVALID_SPEC, f"spec.engine.chatTemplate: {error.message}",
                                   param="spec.engine.chatTemplate") from None
            logger.warning("a chat template could not be checked: %s", error.message)

    return check


def chat_of(renderer: Renderer) -> Chat:
    """Messages to a prompt, as a client's chat would become one."""

    async def prompt(served: Served, messages: list[dict[str, Any]]) -> str:
        return await chat_prompt(messages, served, renderer.render, name=str(served.model))

    return prompt


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


@contextlib.asynccontextmanager
async def _recording(plan: Plan) -> AsyncIterator[Record]:
    """Pods that share a volume have a record each, by their names."""
    if plan.record is None:
        yield Record()
        return
    record = await asyncio.to_thread(open_record, plan.record, plan.pod or "local")
    try:
        yield record
    finally:
        await asyncio.to_thread(record.close)
