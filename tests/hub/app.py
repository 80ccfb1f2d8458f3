"""The double as ASGI applications: the hub, and the file store that it redirects to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any

from tests.hub.behaviour import Behaviour, span
from tests.hub.messages import Asked, Reply, Unknown
from tests.hub.quota import Quota
from tests.hub.repos import Repo
from tests.hub.routes import Routes

PIECE_BYTES = 64 << 10

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass
class Request:
    """One request as it was served. `connection` tells the client's connections apart; `sent` counts body bytes."""

    place: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    connection: int
    status: int = 0
    sent: int = 0


@dataclass(eq=False)
class _Fault:
    pattern: str
    behaviour: Behaviour
    left: int | None


@dataclass
class Double:
    """State and behaviour; change it freely while it runs. `cdn`: the file store's origin, such as http://host:port
    (default: the host that the client named, port `cdn_port`). `root`: the directory that it was loaded from."""

    repos: dict[str, Repo] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    cdn: str | None = None
    cdn_port: int = 0
    root: Path | None = None
    quota: Quota = field(default_factory=Quota)
    seen: list[Request] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    busiest: int = 0
    _busy: int = 0
    _faults: list[_Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.routes = Routes(self.repos, self.tokens, self._cdn_for)
        self._numbers = count(1)

    def repo(self, name: str) -> Repo:
        """The repository of this name; made when it is new."""
        return self.repos.setdefault(name, Repo(name))

    def replace(self, repos: dict[str, Repo], tokens: dict[str, str]) -> None:
        """Other contents; commits that were known stay known under their sha."""
        for name, repo in repos.items():
            if (old := self.repos.get(name)) is not None:
                repo.modified = old.modified + (repo.branches != old.branches)
                repo.commits = {**old.commits, **repo.commits}
        self.repos.clear()
        self.repos.update(repos)
        self.tokens.clear()
        self.tokens.update(tokens)

    def fail(self, pattern: str, behaviour: Behaviour, *, times: int | None = 1) -> None:
        """Requests whose path fits the pattern (`*` stands for anything) behave so: the next `times`, or all (None)."""
        self._faults.append(_Fault(pattern, behaviour, times))

    def heal(self) -> None:
        self._faults.clear()

    def count(self, pattern: str = "*", *, place: str | None = None) -> int:
        """Requests seen whose path and query fit the pattern."""
        return len(self.asked(pattern, place=place))

    def asked(self, pattern: str = "*", *, place: str | None = None) -> list[Request]:
        return [seen for seen in self.seen if place in (None, seen.place)
                and fnmatchcase(f"{seen.path}?{seen.query}" if seen.query else seen.path, pattern)]

    async def hub(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve("hub", self.routes.answer, scope, receive, send)

    async def store(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve("store", self.routes.store, scope, receive, send)

    def _cdn_for(self, asked: Asked) -> str:
        return self.cdn or f"http://{asked.headers.get('host', '').rpartition(':')[0]}:{self.cdn_port}"

    async def _serve(
        self, place: str, answer: Callable[[Asked], Reply], scope: Scope, receive: Receive, send: Send
    ) -> None:
        asked = _asked(scope)
        request = Request(place, asked.method, asked.raw_path, scope["query_string"].decode(), dict(asked.headers),
                          (scope["client"] or ("", 0))[1])
        self.seen.append(request)
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            await self._behave(request, asked, answer, receive, send)
        finally:
            self._busy -= 1

    async def _behave(
        self, request: Request, asked: Asked, answer: Callable[[Asked], Reply], receive: Receive, send: Send
    ) -> None:
        behaviour = self._behaviour(request.path)
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        if behaviour.silent:
            await _until_gone(receive)
            return
        extra = {"X-Request-Id": f"double-{next(self._numbers)}"}
        within = True
        if request.place == "hub":
            bucket = "resolvers" if "/resolve/" in request.path else "api"
            within, limits = self.quota.count(bucket, time.monotonic())
            extra.update(limits)
        if behaviour.status is not None:
            reply = Reply(behaviour.status, {}, behaviour.body)
        elif not within:
            reply = Reply.error(429, "We had to rate limit you")
        else:
            reply = self._reply(request, asked, answer)
        await _send(request, Reply(reply.status, {**extra, **reply.headers}, reply.body, reply.file), asked, behaviour,
                    receive, send)

    def _reply(self, request: Request, asked: Asked, answer: Callable[[Asked], Reply]) -> Reply:
        try:
            return answer(asked)
        except Unknown as reason:
            self.unknown.append(f"{request.place}: {request.method} {request.path}?{request.query}: {reason}")
            return Reply.error(501, f"the double does not know this request: {reason}", "DoubleDoesNotKnow")

    def _behaviour(self, path: str) -> Behaviour:
        for fault in self._faults:
            if fnmatchcase(path, fault.pattern):
                if fault.left is not None:
                    fault.left -= 1
                    if fault.left == 0:
                        self._faults.remove(fault)
                return fault.behaviour
        return Behaviour()


def _asked(scope: Scope) -> Asked:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return Asked.of(scope["method"], path, query, headers)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(
    request: Request, reply: Reply, asked: Asked, behaviour: Behaviour, receive: Receive, send: Send
) -> None:
    status, headers, start, end = reply.status, dict(reply.headers), 0, len(reply.body)
    if reply.file is not None:
        found = span(reply.file.size, headers["ETag"], asked.headers, behaviour)
        status, start, end = found.status, found.start, found.end
        headers = {**found.headers, **headers}
    headers["Content-Length"] = str(end - start)
    headers.update(behaviour.headers)
    request.status = status
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if asked.method == "HEAD":
        start = end
    ends = [start + length for length in (behaviour.cut, behaviour.hang) if length is not None]
    await _send_bytes(request, reply, behaviour, start, min([end, *ends]), send)
    if behaviour.hang is not None:
        await _until_gone(receive)
    elif behaviour.cut is None:
        await send({"type": "http.response.body", "body": b""})
    # After a cut nothing ends the body: the server closes the connection.


async def _send_bytes(request: Request, reply: Reply, behaviour: Behaviour, start: int, end: int, send: Send) -> None:
    size = 1 if behaviour.drip is not None else PIECE_BYTES
    for position in range(start, end, size):
        last = min(position + size, end)
        piece = reply.file.read(position, last) if reply.file is not None else reply.body[position:last]
        if behaviour.flip is not None and position <= behaviour.flip < last:
            at = behaviour.flip - position
            piece = piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        request.sent += len(piece)
        pause = behaviour.drip or (len(piece) / behaviour.rate if behaviour.rate else 0)
        if pause:
            await asyncio.sleep(pause)
