"""HTTP GET whose connections go to exactly the addresses that were checked, kept open for the next request."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_operator.hub.credentials import Access
from paddock_operator.hub.urls import Origin, check_addresses, check_redirect, origin_of, shown

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DRAINED_BYTES = 64 << 10
_KEPT_ORIGINS = 8
_LIMITS = httpx.Limits(max_connections=16, max_keepalive_connections=4, keepalive_expiry=30.0)

Lookup = Callable[[str, int], Awaitable[list[str]]]


async def lookup(host: str, port: int) -> list[str]:
    """All addresses of a host, in the order the system prefers. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One GET. Of a body over `limit` bytes the rest stays unread. `allow_hosts`: hosts that may be private.
    `access`: a hub whose token goes along, to that hub only. `param`: the field that errors name."""

    url: httpx.URL
    limit: int
    allow_hosts: Set[str]
    param: str
    headers: dict[str, str] = field(default_factory=dict)
    access: Access | None = None
    follow: bool = True


@dataclass(frozen=True)
class Got:
    """The first answer that is no redirect (or simply the first, without `follow`). `url`: who gave it.
    `whole`: the body is all there; else its first bytes, a few more than `limit`, are."""

    status: int
    headers: httpx.Headers
    body: bytes
    whole: bool
    url: httpx.URL


@dataclass(eq=False)
class _Kept:
    transport: httpx.AsyncHTTPTransport
    users: int = 0


class Connector:
    """Proxies of the environment are ignored; its CA bundle (SSL_CERT_FILE, SSL_CERT_DIR) is used."""

    def __init__(self, *, lookup: Lookup = lookup, step_seconds: float = 15.0) -> None:
        self._lookup = lookup
        self._step_seconds = step_seconds
        self._context: ssl.SSLContext | None = None
        # Each origin has connections of its own: a certificate that was checked for one host vouches for no other that
        # has the same address.
        self._kept: OrderedDict[Origin, _Kept] = OrderedDict()

    async def get(self, ask: Ask) -> Got:
        """Raises httpx.TransportError, OSError and TimeoutError for what may pass, PaddockError SOURCE_REFUSED for what
        may not be. Bounded in bytes; the caller bounds the time."""
        url, trusted = ask.url, True
        for _ in range(MAX_REDIRECTS + 1):
            headers = ask.headers
            if ask.access is not None:
                # Whoever the request was once sent away to does not send it back with the token.
                trusted = trusted and origin_of(url) == origin_of(ask.access.endpoint)
                headers = {**headers, **(ask.access.headers_for(url) if trusted else {})}
            got = await self._hop(url, ask, headers)
            if not ask.follow or got.status not in _REDIRECTS or "location" not in got.headers:
                return got
            url = check_redirect(url, got.headers["location"], ask.param)
        raise PaddockError(Code.SOURCE_REFUSED, f"{shown(ask.url)}: more than {MAX_REDIRECTS} redirects in a row",
                           param=ask.param)

    async def aclose(self) -> None:
        """Close the connections that nobody uses."""
        kept, self._kept = self._kept, OrderedDict()
        for each in kept.values():
            await each.transport.aclose()

    async def _hop(self, url: httpx.URL, ask: Ask, headers: dict[str, str]) -> Got:
        async with asyncio.timeout(self._step_seconds):
            addresses = await self._lookup(_host(url), origin_of(url).port)
        check_addresses(url, addresses, ask.allow_hosts, ask.param)
        async with self._transport(origin_of(url)) as transport:
            try:
                response = await self._send(transport, url, addresses, headers)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # A kept connection may have been closed in just this moment; a GET can be asked twice.
                response = await self._send(transport, url, addresses, headers)
            try:
                limit = _DRAINED_BYTES if response.status_code in _REDIRECTS else ask.limit
                body = await _read(response, limit)
                return Got(response.status_code, response.headers, body, len(body) <= limit, url)
            finally:
                await response.aclose()  # what was not read to its end is not kept

    async def _send(
        self, transport: httpx.AsyncHTTPTransport, url: httpx.URL, addresses: list[str], headers: dict[str, str]
    ) -> httpx.Response:
        extensions = {"sni_hostname": _host(url), "timeout": httpx.Timeout(self._step_seconds).as_dict()}
        failure: httpx.TransportError = httpx.ConnectError("the host has no address")
        for address in addresses:
            request = httpx.Request("GET", url, headers=headers, extensions=extensions)
            # The Host header was made from the name and stays; certificates are checked against the name, too.
            request.url = url.copy_with(host=address)
            try:
                return await transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    @asynccontextmanager
    async def _transport(self, origin: Origin) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        # Not a client, because httpx's client logs whole URLs, and their queries may hold signatures.
        if self._context is None:
            self._context = httpx.create_ssl_context()
        kept = self._kept.get(origin)
        if kept is None:
            kept = self._kept[origin] = _Kept(
                httpx.AsyncHTTPTransport(verify=self._context, trust_env=False, limits=_LIMITS))
        self._kept.move_to_end(origin)
        kept.users += 1
        try:
            yield kept.transport
        finally:
            kept.users -= 1
            await self._tidy()

    async def _tidy(self) -> None:
        idle = [origin for origin, kept in self._kept.items() if not kept.users]
        for origin in idle[: max(0, len(self._kept) - _KEPT_ORIGINS)]:
            await self._kept.pop(origin).transport.aclose()


async def _read(response: httpx.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")
