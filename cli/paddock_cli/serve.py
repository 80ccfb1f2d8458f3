"""`paddock serve DIR`: everything in this process, but the engines."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import uvloop

from paddock_api.canonical import short_hash
from paddock_api.pool_settings import PoolSettings
from paddock_cli.banner import banner, try_next, url_of
from paddock_cli.errors import CommandError
from paddock_cli.quantities import format_bytes
from paddock_cli.version import version
from paddock_runtime import logs
from paddock_runtime.config import DirectorySource, Snapshot
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.server.context import Settings
from paddock_runtime.server.listener import bind
from paddock_runtime.server.pod import Plan, StopSignal, run
from paddock_runtime.store import FileStore

logger = logging.getLogger("paddock.serve")

_LEAST_MEMORY = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """Times in seconds."""

    directory: Path
    host: str
    port: int
    memory_bytes: int
    cache: Path
    hold: float
    drain: float
    allowed_hosts: frozenset[str]
    predict_percent: int = 0  # of the memory, for what is loaded before it is asked


def serve(options: Options) -> int:
    """Blocks until SIGTERM or Ctrl-C. Raises CommandError."""
    if options.memory_bytes < _LEAST_MEMORY:
        raise CommandError(f"--memory {format_bytes(options.memory_bytes)} holds no model: give at least "
                           f"{format_bytes(_LEAST_MEMORY)}")
    source = DirectorySource(options.directory, settings=PoolSettings(preload_percent=options.predict_percent))
    snapshot = first_snapshot(source, options.directory)
    listener = _bind(options.host, options.port)
    with listener:
        store = _store(options)
        port: int = listener.getsockname()[1]
        plan = Plan(source=source, snapshot=snapshot, store=store, engine_types=[LlamaCpp()], listener=listener,
                    memory_bytes=options.memory_bytes, version=version(), drain=options.drain,
                    record=options.cache / "record" / _folder_key(options.directory),
                    directory=options.directory.absolute(),
                    settings=Settings(hold=options.hold), prompts=options.cache / "prompts")
        logs.configure(console=sys.stderr.isatty())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(plan, url_of(options.host, port)))
    return 0


def _folder_key(directory: Path) -> str:
    """A folder of manifests has a past of its own; one that takes its place has none."""
    status = directory.stat()
    return short_hash([str(directory.resolve()), status.st_dev, status.st_ino])


async def _run(plan: Plan, url: str) -> None:
    stop = StopSignal()
    stop.listen()
    config = plan.snapshot.config
    if sys.stderr.isatty():
        print(banner(config, url, version=plan.version, memory_bytes=plan.memory_bytes), file=sys.stderr)
    else:
        logger.info("serving", extra={"data": {"url": url, "models": sorted(config.models),
                                               "try": try_next(config, url)}})
    await run(plan, stop)
    logger.info("ended")


def first_snapshot(source: DirectorySource, directory: Path) -> Snapshot:
    """The directory's Models; a server without any would only puzzle its user."""
    if not directory.is_dir():
        raise CommandError(f"{directory} is not a directory: name one that holds Model manifests")
    snapshot = source.read()
    if snapshot.error is not None:
        raise CommandError(f"the manifests have errors: {'; '.join(snapshot.error.splitlines())}")
    if not snapshot.config.models:
        raise CommandError(f"{directory} holds no Model: put a manifest (*.yaml) there, see examples/models")
    return snapshot


def _bind(host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except socket.gaierror:
        raise CommandError(f"{host} is not an address of this machine: see --host") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(f"port {port} on {host} is in use: choose another with --port") from None
        raise CommandError(f"can't listen on {host} port {port}: {error.strerror}") from None


def _store(options: Options) -> FileStore:
    try:
        return FileStore(options.cache, allow_hosts=options.allowed_hosts)
    except OSError as error:
        raise CommandError(f"can't use {options.cache} for files ({error.strerror}): name another with --cache"
                           ) from None
