"""The parent's side of one render worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import paddock_runtime
from paddock_runtime.render import worker

START_SECONDS = 20.0
WALL_FACTOR = 5  # a worker on a busy machine gets its CPU time in at most so many times as long


class Ended(Exception):
    """The worker ended instead of answering; `reason` says why, as far as it can be told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one render."""

    cpu_seconds: float
    memory_bytes: int
    output_bytes: int


class Process:
    """Use `start`; then `ask` again and again; `kill` in the end, whatever happened."""

    def __init__(self, process: asyncio.subprocess.Process, limits: Limits, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._limits = limits
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, limits: Limits) -> Process:
        """A worker that is ready. Raises Ended or TimeoutError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-s", "-m", "paddock_runtime.render", str(theirs.fileno()),
                    str(int(limits.cpu_seconds * 1000)), str(limits.memory_bytes), str(limits.output_bytes),
                    pass_fds=[theirs.fileno()], env=_environment(), cwd="/", start_new_session=True,
                    stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        started = cls(process, limits, reader, writer)
        try:
            async with asyncio.timeout(START_SECONDS):
                await started._frame()
        except BaseException:
            await started.kill()
            raise
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._reader.at_eof()

    async def ask(self, request: bytes) -> bytes:
        """The answer. Raises Ended when the worker died of the request, or took too long: then it must be killed."""
        seconds = self._limits.cpu_seconds * WALL_FACTOR
        try:
            async with asyncio.timeout(seconds):
                self._writer.write(worker.HEADER.pack(len(request)) + request)
                await self._writer.drain()
                return await self._frame()
        except TimeoutError:
            raise Ended(f"it took longer than {seconds:g} seconds") from None

    async def kill(self) -> None:
        """End the process and its group now, and see it gone."""
        self._writer.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _frame(self) -> bytes:
        try:
            (length,) = worker.HEADER.unpack(await self._reader.readexactly(worker.HEADER.size))
            if length > self._limits.output_bytes + 1024:
                raise Ended("it gave an impossible answer")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            raise Ended(await self._why()) from None

    async def _why(self) -> str:
        code = await self._process.wait()
        if code in (-signal.SIGPROF, -signal.SIGXCPU):
            return f"it used more than {self._limits.cpu_seconds:g} seconds of CPU time"
        return f"it broke the renderer ({signal.Signals(-code).name if code < 0 else f'exit {code}'})"


def _environment() -> dict[str, str]:
    """Nothing of ours: no secret may be within a template's reach."""
    package = Path(paddock_runtime.__file__ or "").parent.parent
    kept = {name: os.environ[name] for name in ("TZ", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "PYTHONPATH": str(package), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
