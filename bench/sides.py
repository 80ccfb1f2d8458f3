"""The two sides: `paddock serve` and llama-server, each as the processes that a user would start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.client import Target, call

START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0

# One cache of this many tokens for this many requests at once, on both sides: 512 tokens each when split evenly.
PARALLEL = 16
CACHE_TOKENS = 8192
CONTEXT_LENGTH = 512


class SideError(Exception):
    """A server did not start or did not do as told; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Process:
    """One server process: `{port}` in its command becomes a free port; it is up when `health` answers 200."""

    command: tuple[str, ...]
    health: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    processes: tuple[Process, ...]

    def commands(self) -> list[str]:
        return [" ".join(process.command) for process in self.processes]


@dataclass(slots=True)
class Running:
    """A side that is up: where its models answer, and its root processes."""

    targets: list[Target]
    pids: list[int]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def running(side: Side, logs: Path) -> AsyncIterator[Running]:
    """Start the side, wait until it is up, stop it at the end whatever happens. Raises SideError."""
    started: list[subprocess.Popen[bytes]] = []
    targets = []
    try:
        for number, process in enumerate(side.processes):
            port = free_port()
            log = logs / f"{side.name.replace(' ', '-').replace('/', '-')}-{number}.log"
            child = spawn(process, port, log)
            started.append(child)
            await wait_up(process, port, child, log)
            targets += [Target(port, model) for model in process.models]
        yield Running(targets, [child.pid for child in started])
    finally:
        await asyncio.to_thread(stop, started)


def spawn(process: Process, port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [part.replace("{port}", str(port)) for part in process.command]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                start_new_session=True)


async def wait_up(process: Process, port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    """Ask every 10 ms until the server says that it is up. Raises SideError."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise SideError(f"{process.command[0]} ended with {child.returncode}: {tail(log)}")
        with contextlib.suppress(OSError, TimeoutError):
            status, _ = await call(port, "GET", process.health, seconds=5.0)
            if status == 200:
                return
        await asyncio.sleep(0.01)
    raise SideError(f"{process.command[0]} was not up within {START_TIMEOUT:.0f} s: {tail(log)}")


def tail(log: Path, size: int = 1500) -> str:
    return log.read_text(errors="replace")[-size:]


def stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """SIGTERM, then SIGKILL to the group of each after STOP_TIMEOUT seconds."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(STOP_TIMEOUT)


def llama_server(name: str, binary: Path, files: Sequence[Path], flags: Sequence[str]) -> Side:
    """One process for each file, with equal flags."""
    return Side(name, tuple(
        Process((str(binary), "-m", str(file), "--host", "127.0.0.1", "--port", "{port}", *flags), "/health",
                (file.stem,))
        for file in files))


def serving_flags(threads: int, *, unified: bool) -> list[str]:
    """The peer's room and threads. Without --swa-full llama-server reads the whole prompt of every warm request to a
    sliding-window model again; at these sizes the full cache costs nothing, since no window is smaller than a place.
    """
    flags = ["-np", str(PARALLEL), "-c", str(CACHE_TOKENS), "--threads", str(threads), "--threads-batch", str(threads),
             "-fit", "off", "--swa-full"]
    return [*flags, "--kv-unified"] if unified else flags


def manifest(name: str, file: Path) -> dict[str, Any]:
    """A Model with the same room as the peer's; nothing unloads it but the bench itself."""
    return {"apiVersion": "paddock.dev/v1alpha1", "kind": "Model", "metadata": {"name": name},
            "spec": {"source": {"file": {"path": str(file)}},
                     "engine": {"parallel": PARALLEL, "contextLength": CONTEXT_LENGTH, "cacheTokens": CACHE_TOKENS},
                     "loading": {"idleTimeout": "1h", "minResidency": "0s"}}}


def paddock(name: str, work: Path, manifests: Sequence[dict[str, Any]], memory: str = "4Gi") -> Side:
    """`paddock serve` with these Models, a cache folder of its own, and `memory` for all of them."""
    models = [str(each["metadata"]["name"]) for each in manifests]
    folder = work / f"models-{'-'.join(models)}-{memory}"
    folder.mkdir(exist_ok=True)
    for model, each in zip(models, manifests, strict=True):
        (folder / f"{model}.yaml").write_text(yaml.safe_dump(each, sort_keys=False))
    command = (str(Path(sys.executable).with_name("paddock")), "serve", str(folder), "--host", "127.0.0.1",
               "--port", "{port}", "--cache", str(work / "cache"), "--memory", memory)
    return Side(name, (Process(command, "/readyz", tuple(models)),))
