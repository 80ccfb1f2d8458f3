"""Between one operator and the API server: records every request, and can be cut, stalled, or made to forget."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host", "te", "upgrade"}
WRITES = ("POST", "PUT", "PATCH", "DELETE")


@dataclass
class Request:
    """`status` stays 0 for a request that got no answer."""

    method: str
    path: str
    query: dict[str, str]
    at: float
    body: Any = None
    status: int = 0

    @property
    def kind(self) -> str:
        """The plural; `models/status` for a status; empty for what is about no kind."""
        parts = self.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        if not parts:
            return ""
        if parts[:1] == ["namespaces"] and len(parts) > 2:
            parts = parts[2:]
        return "/".join((parts[0], *parts[2:])) if len(parts) > 2 else parts[0]

    @property
    def name(self) -> str:
        """Of the object written."""
        body = self.body if isinstance(self.body, dict) else {}
        return str(body.get("metadata", {}).get("name") or self.path.rstrip("/").rsplit("/", 1)[1])


@dataclass
class Proxy:
    """`cut`: connections are refused or dropped. `stalled`: everything hangs, watches included. `held`: writes of this
    kind wait on their way to the API server until `release`."""

    upstream: str
    trust: ssl.SSLContext
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    cut: bool = False
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    expired: bool = False
    held: str | None = None
    release: asyncio.Event = field(default_factory=asyncio.Event)
    _streams: set[asyncio.Task[Any]] = field(default_factory=set)
    _mute: set[asyncio.Task[Any]] = field(default_factory=set)
    _session: aiohttp.ClientSession | None = None

    @property
    def writes(self) -> list[Request]:
        """Those that reached the API server and were obeyed, the Lease's left out."""
        return [each for each in self.requests
                if each.method in WRITES and each.kind != "leases" and 200 <= each.status < 300]

    def counted(self) -> Counter[tuple[str, str]]:
        return Counter((each.method, each.kind) for each in self.writes)

    def drop_streams(self) -> None:
        """Ends all watches."""
        for task in list(self._streams):
            task.cancel()

    def mute_streams(self) -> None:
        """The watches that there are stay open and tell nothing more; new ones do."""
        self._mute.update(self._streams)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        body = await request.read()
        record = Request(request.method, request.path, dict(request.query), time.monotonic(), _json(body))
        self.requests.append(record)
        await self._gate(request)
        if record.method in WRITES and record.kind == self.held:
            await self.release.wait()
        if self.expired and "watch" in request.query:
            return web.Response(text=json.dumps({"type": "ERROR", "object": {
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
                "message": "too old resource version"}}) + "\n", content_type="application/json")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        try:
            async with self._session.request(request.method, self.upstream + request.path_qs, data=body or None,
                                             headers=headers, ssl=self.trust) as answer:
                record.status = answer.status
                return await self._pass_on(request, answer)
        except aiohttp.ClientError:
            _abort(request)
            raise

    async def _pass_on(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        response = web.StreamResponse(status=answer.status, headers=headers)
        task = asyncio.current_task()
        assert task is not None
        if "watch" in request.query:
            self._streams.add(task)
        try:
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError):  # the operator has gone
                async for chunk in answer.content.iter_any():
                    await self._gate(request)
                    if task not in self._mute:
                        await response.write(chunk)
                await response.write_eof()
        finally:
            self._streams.discard(task)
            self._mute.discard(task)
        return response

    async def _gate(self, request: web.Request) -> None:
        if not self.stalled.is_set():
            await self.stalled.wait()
        if self.cut:
            _abort(request)
            raise ConnectionResetError("cut")


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def trust_of(kubeconfig: Path) -> ssl.SSLContext:
    """The administrator's own client certificate."""
    document = yaml.safe_load(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    return context


@contextlib.asynccontextmanager
async def proxy(upstream: str, kubeconfig: Path) -> AsyncIterator[Proxy]:
    made = Proxy(upstream, trust_of(kubeconfig))
    made.stalled.set()
    application = web.Application(client_max_size=64 << 20)
    application.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=True) as session:
        made._session = session
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.port = runner.addresses[0][1]
        try:
            yield made
        finally:
            made.drop_streams()
            await runner.cleanup()


def kubeconfig_for(proxy: Proxy) -> str:
    return yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{proxy.port}"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "users": [{"name": "it", "user": {}}]})
