"""The sockets of the double: it runs in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

from tests.hub.behaviour import Answer, Behaviour, answer

PIECE_BYTES = 64 << 10


@dataclass
class Seen:
    """One request: its path with query, its headers (lower-case names), the answer's status, body bytes handed out."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class Hub:
    """Use as `async with Hub() as hub`. Paths start with a slash and exclude the query."""

    tls: ssl.SSLContext | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    _queues: dict[str, deque[Behaviour]] = field(default_factory=dict)
    _always: dict[str, Behaviour] = field(default_factory=dict)
    _etags: dict[str, str] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Hub:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def host(self) -> str:
        """As `allow_hosts` takes it."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def add(self, path: str, data: bytes) -> str:
        """Serve these bytes there; gives their sha256."""
        self.files[path] = data
        digest = hashlib.sha256(data).hexdigest()
        self._etags[path] = f'"{digest[:16]}"'
        return digest

    def next(self, path: str, *behaviours: Behaviour) -> None:
        """For the coming requests, one each; after that as always."""
        self._queues.setdefault(path, deque()).extend(behaviours)

    def always(self, path: str, behaviour: Behaviour) -> None:
        self._always[path] = behaviour

    def sent(self, path: str) -> int:
        """Body bytes handed out for a path, over all requests."""
        return sum(seen.sent for seen in self.seen if seen.path.partition("?")[0] == path)

    async def until(self, path: str, sent: int) -> None:
        """Until so many body bytes were handed out for a path, or a request for it was seen when `sent` is 0."""
        while self.sent(path) < sent or not self.seen:
            await self._moved.wait()

    def moved(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        target = lines[0].split(" ")[1]
        fields = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        seen = Seen(target, headers)
        self.seen.append(seen)
        self.moved()
        path = target.partition("?")[0]
        queue = self._queues.get(path)
        behaviour = queue.popleft() if queue else self._always.get(path, Behaviour())
        if behaviour.silent:
            await reader.read()  # until the client leaves
            return
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        found = answer(self.files.get(path), self._etags.get(path, ""), headers, behaviour)
        seen.status = found.status
        await _send(self, reader, writer, found, behaviour, seen)


async def _send(
    hub: Hub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, found: Answer, behaviour: Behaviour,
    seen: Seen,
) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in found.headers.items())
    writer.write(f"HTTP/1.1 {found.status} Whatever\r\n{head}Connection: close\r\n\r\n".encode("latin-1"))
    ends = [end for end in (behaviour.cut, behaviour.hang) if end is not None]
    limit = min([len(found.body), *ends])
    size = 1 if behaviour.drip is not None else PIECE_BYTES
    for start in range(0, limit, size):
        piece = found.body[start : min(start + size, limit)]
        chunked = behaviour.framing == "chunked"
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
        await writer.drain()
        seen.sent += len(piece)
        hub.moved()
        pause = behaviour.drip or (len(piece) / behaviour.rate if behaviour.rate else 0)
        if pause:
            await asyncio.sleep(pause)
    if behaviour.hang is not None:
        await reader.read()
    elif behaviour.framing == "chunked" and limit == len(found.body):
        writer.write(b"0\r\n\r\n")
        await writer.drain()
