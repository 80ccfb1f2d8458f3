"""HTTP requests whose connections go to exactly the addresses that were checked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store.addresses import check_addresses, check_redirect, port_of, shown
from paddock_runtime.store.credentials import origin_of

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, in the order the system prefers. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Connector:
    """GET with our own redirects. Each hop is resolved, checked and then connected to by address.

    Proxies of the environment are ignored; its CA bundle (SSL_CERT_FILE, SSL_CERT_DIR) is used.
    """

    def __init__(self, allow_hosts: frozenset[str], *, resolve: Resolve = resolve) -> None:
        self._allow_hosts = frozenset(host.lower() for host in allow_hosts)
        self._resolve = resolve
        self._context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def get(
        self, url: httpx.URL, headers: dict[str, str], *, step_seconds: float, token: str | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The first response that is no redirect, its body unread. `step_seconds` bounds each step.

        `token` goes to the origin of `url` only: after a redirect to any other it is not sent again. Raises
        httpx.TransportError and OSError for what may pass, PaddockError SOURCE_REFUSED for what may not be.
        """
        home = origin_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            token = token if origin_of(url) == home else None
            shown_headers = headers if token is None else {**headers, "Authorization": f"Bearer {token}"}
            async with self._hop(url, shown_headers, step_seconds) as response:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    yield response
                    return
                url = check_redirect(url, response.headers["location"])
        raise PaddockError(Code.SOURCE_REFUSED, f"{shown(url)}: more than {MAX_REDIRECTS} redirects in a row",
                           param="source.http.url")

    @asynccontextmanager
    async def _hop(self, url: httpx.URL, headers: dict[str, str], step_seconds: float) -> AsyncIterator[httpx.Response]:
        async with asyncio.timeout(step_seconds):
            addresses = await self._resolve(_host(url), port_of(url))
        check_addresses(url, addresses, self._allow_hosts)
        # A transport of its own for each hop: no connection, header or cookie goes on to another host. The transport
        # and not a client, because httpx's client logs whole URLs, and their queries may hold signatures.
        async with httpx.AsyncHTTPTransport(verify=self._tls(), trust_env=False) as transport:
            response = await _send_to_first(transport, url, addresses, headers, step_seconds)
            try:
                yield response
            finally:
                await response.aclose()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = httpx.create_ssl_context()
        return self._context


async def _send_to_first(
    transport: httpx.AsyncHTTPTransport, url: httpx.URL, addresses: list[str], headers: dict[str, str],
    step_seconds: float,
) -> httpx.Response:
    extensions = {"sni_hostname": _host(url), "timeout": httpx.Timeout(step_seconds).as_dict()}
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


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")
