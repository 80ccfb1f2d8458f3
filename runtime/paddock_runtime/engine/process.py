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
_READ_LIMIT = 64 * 1024


class ChildProcess:
    """`command(fd)` is exec'd with one end of a socket pair as descriptor `fd`; `protocol` reads and writes the other.

    The child is a session of its own: a Ctrl-C in the terminal reaches us only, and we drain.
    """

    def __init__(self, process: asyncio.subprocess.Process, transport: asyncio.Transport) -> None:
        self._process = process
        self._transport = transport
        self._tail: deque[str] = deque(maxlen=STDERR_LINES)
        self._reader = asyncio.create_task(self._read_stderr(), name=f"stderr of {process.pid}")
        self._ended = asyncio.create_task(self._wait(), name=f"end of {process.pid}")

    @classmethod
    async def start(cls, command: Callable[[int], Sequence[str]], protocol: asyncio.Protocol,
                    environment: Mapping[str, str]) -> ChildProcess:
        """Raises OSError when the program can't be started."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *command(theirs.fileno()), pass_fds=(theirs.fileno(),), env={**os.environ, **environment},
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                limit=_READ_LIMIT, start_new_session=True)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
        except BaseException:
            ours.close()
            process.kill()
            raise
        return cls(process, transport)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return not self._ended.done()

    def tail(self) -> list[str]:
        """The last lines the child wrote to stderr: its last words if it crashed."""
        return list(self._tail)

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
        # a grandchild that kept stderr open must not keep us waiting
        done, _ = await asyncio.wait([self._reader], timeout=1.0)
        if not done:
            self._reader.cancel()
        self._transport.close()
        return code

    async def _read_stderr(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        pending = b""
        while data := await stream.read(_READ_LIMIT):
            *lines, pending = (pending + data).split(b"\n")
            pending = pending[-STDERR_LINE_BYTES:]
            self._tail.extend(_printable(line) for line in lines[-STDERR_LINES:] if line.strip())
        if pending.strip():
            self._tail.append(_printable(pending))


def _printable(line: bytes) -> str:
    """One log line without control characters: what a child prints may hold anything."""
    text = line[:STDERR_LINE_BYTES].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()
