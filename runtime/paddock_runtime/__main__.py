"""`python -m paddock_runtime`: one pod of a RuntimePool. Settings: docs/runtime.md."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from paddock_runtime import logs
from paddock_runtime.config import ShardSource
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.lifecycle import Limits
from paddock_runtime.server.guard import PoolToken
from paddock_runtime.server.listener import bind
from paddock_runtime.server.pod import Plan, StopSignal, run
from paddock_runtime.settings import SettingError, Settings, read_settings
from paddock_runtime.store import Credentials, FileStore
from paddock_runtime.version import version

logger = logging.getLogger("paddock.runtime")

ACCEPT_SECONDS = 5.0  # endpoints take so long to reach everybody


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 ended when asked to, 2 it can't start as it is set up."""
    logs.configure()
    try:
        settings = read_settings(os.environ, sys.argv[1:] if arguments is None else arguments)
        plan = make_plan(settings)
    except SettingError as error:
        logger.error("can't start: %s", error)
        return 2
    logs.configure(level=settings.log_level)
    with plan.listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(plan, settings))
    return 0


def make_plan(settings: Settings) -> Plan:
    """All that is needed from outside, looked at before anything is started. Raises SettingError."""
    source = ShardSource(settings.pool_config)
    return Plan(source=source, snapshot=source.read(), store=_store(settings), engine_types=[LlamaCpp()],
                token=_token(settings), listener=_listener(settings), memory_bytes=settings.memory, pod=settings.pod,
                version=version(), drain=settings.drain, accept=ACCEPT_SECONDS, record=settings.cache / "record",
                prompts=settings.cache / "prompts",
                limits=Limits(prompt_disk_bytes=settings.prompt_disk, prompt_write_seconds=settings.prompt_write))


async def _run(plan: Plan, settings: Settings) -> None:
    stop = StopSignal()
    stop.listen()
    host, port = plan.listener.getsockname()[:2]
    logger.info("serving", extra={"data": {
        "pod": settings.pod, "namespace": settings.namespace, "pool": settings.pool, "address": f"{host}:{port}",
        "version": plan.version, "memory_bytes": settings.memory, "volumes": sorted(_volumes(settings)),
        "generation": plan.snapshot.config.generation}})
    await run(plan, stop)
    logger.info("ended")


def _token(settings: Settings) -> PoolToken:
    try:
        return PoolToken(settings.token_file)
    except ValueError as error:
        raise SettingError(f"PADDOCK_TOKEN_FILE: {error}: mount the Secret with the pool's token there") from None


def _store(settings: Settings) -> FileStore:
    try:
        return FileStore(
            settings.cache, budget_bytes=settings.disk, allow_hosts=settings.fetch_hosts,
            volumes=_volumes(settings), anywhere=False,
            credentials=Credentials(settings.credentials, settings.hf_endpoint))
    except OSError as error:
        raise SettingError(f"PADDOCK_CACHE: {settings.cache} can't be used for files ({error.strerror}): mount a "
                           "volume there that this user may write to") from None


def _volumes(settings: Settings) -> dict[str, Path]:
    """Kubelet mounts all volumes before the container starts."""
    try:
        return {entry.name: Path(entry.path) for entry in os.scandir(settings.volumes) if entry.is_dir()}
    except OSError:
        return {}


def _listener(settings: Settings) -> socket.socket:
    try:
        return bind(settings.listen.host, settings.listen.port)
    except OSError as error:
        raise SettingError(f"PADDOCK_LISTEN: can't listen on {settings.listen.host} port {settings.listen.port}: "
                           f"{error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
