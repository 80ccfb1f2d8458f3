"""A child process with a socket to it: started, watched, ended. Knows nothing of what is said on the socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence

STDERR_LINES = 40
STDERR_LINE_BYTES = 500
_LAST_WORDS_SECONDS = 1.0  # for stderr to close after the exit: a grandchild may hold it open


class LastLines(asyncio.Protocol):
    """The last lines that were written to a pipe, each cut to a bounded length. `closed` when the writers are gone."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self._lines: deque[bytes] = deque(maxlen=STDERR_LINES)
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        *lines, pending = (self._pending + data).split(b"\n")
        self._lines.extend(line for line in lines[-STDERR_LINES:] if line.strip())
        self._pending = pending[:STDERR_LINE_BYTES]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def lines(self) -> list[str]:
        last = [self._pending] if self._pending.strip() else []
        return [_printable(line) for line in [*self._lines, *last]][-STDERR_LINES:]


class ChildProcess:
    """`command(fd)` is exec'd with one end of a socket pair as descriptor `fd`; `protocol` reads and writes the other.

    The child is a session of its own: a Ctrl-C in the terminal reaches us only, and we drain.
    """

    def __init__(self, process: asyncio.subprocess.Process, transport: asyncio.Transport, stderr: LastLines,
                 pipe: asyncio.BaseTransport) -> None:
        self._process, self._transport, self._stderr, self._pipe = process, transport, stderr, pipe
        self._ended = asyncio.create_task(self._wait(), name=f"end of {process.pid}")

    @classmethod
    async def start(cls, command: Callable[[int], Sequence[str]], protocol: asyncio.Protocol,
                    environment: Mapping[str, str]) -> ChildProcess:
        """Raises OSError when the program can't be started."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            ours.setblocking(False)
            with theirs:
                read_end, write_end = os.pipe()
                stderr = LastLines()
                pipe, _ = await loop.connect_read_pipe(lambda: stderr, os.fdopen(read_end, "rb", buffering=0))
                undo.callback(pipe.close)
                try:
                    # a pipe of our own: asyncio's would make `wait` wait for all who inherited it
                    process = await asyncio.create_subprocess_exec(
                        *command(theirs.fileno()), pass_fds=(theirs.fileno(),), env={**os.environ, **environment},
                        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=write_end,
                        start_new_session=True)
                finally:
                    os.close(write_end)
            undo.callback(process.kill)
            transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
            undo.pop_all()
        return cls(process, transport, stderr, pipe)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return not self._ended.done()

    def tail(self) -> list[str]:
        """The last lines the child wrote to stderr: its last words if it crashed."""
        return self._stderr.lines()

    def kill(self) -> None:
        """SIGKILL, now. The exit is seen by `ended`."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)

    async def ended(self) -> int:
        """The exit code (negative: the signal), once the child is reaped and its stderr is read."""
        return await asyncio.shield(self._ended)

    async def close(self, grace: float) -> int:
        """Closes the socket, which ends the child; kills it after `grace` seconds. Returns the exit code."""
        self._transport.close()
        try:
            return await asyncio.wait_for(self.ended(), grace)
        except TimeoutError:
            self.kill()
            return await self.ended()

    async def _wait(self) -> int:
        code = await self._process.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stderr.closed.wait(), _LAST_WORDS_SECONDS)
        self._pipe.close()
        self._transport.close()
        return code


def _printable(line: bytes) -> str:
    """One log line without control characters: what a child prints may hold anything."""
    text = line[:STDERR_LINE_BYTES].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()
