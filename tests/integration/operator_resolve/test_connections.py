"""Input 6 on the wire: where connections go, what redirects may do, what is kept."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from paddock_api.errors import Code, PaddockError
from paddock_operator.hub import Connector
from paddock_operator.hub.connect import Ask
from paddock_operator.resolve import Resolver
from tests.hub import Behaviour, Hub
from tests.hub.kit import self_signed
from tests.integration.operator_resolve.kit import failure, http, resolve

NAME = "files.example"
PARAM = "source.http.url"


@pytest.fixture
async def server() -> AsyncIterator[Hub]:
    async with Hub() as server:
        yield server


def resolver_for(*allowed: str, lookup: dict[str, list[str]] | None = None) -> Resolver:
    async def look(host: str, port: int) -> list[str]:
        return (lookup or {}).get(host, [host])

    return Resolver(allow_hosts=allowed, connector=Connector(lookup=look, step_seconds=5.0))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "[fe80::1]", "[::ffff:10.0.0.1]",
                                  "100.64.0.1", "0.0.0.0", "[fd00::1]", "[64:ff9b::a00:1]"])
async def test_private_addresses_are_refused_before_a_connection(host: str) -> None:
    error = await failure(resolver_for(), http(f"http://{host}:1/f.gguf?sig=CANARY"))
    assert (error.code, error.param) == (Code.SOURCE_REFUSED, PARAM)
    assert "PADDOCK_ALLOWED_HOSTS" in error.message
    assert "CANARY" not in error.message


async def test_a_name_with_one_private_address_is_refused(server: Hub) -> None:
    resolver = resolver_for(lookup={NAME: ["1.1.1.1", "127.0.0.1"]})
    error = await failure(resolver, http(server.url("/f", host=NAME)))
    assert error.code == Code.SOURCE_REFUSED
    assert "127.0.0.1" not in error.message
    assert server.seen == []


async def test_the_connection_goes_to_the_address_that_was_checked(server: Hub, weights: Path) -> None:
    """A name that resolves to another address the second time is not asked a second time for one request."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.255.255.1"]

    digest = server.add("/f.gguf", weights.read_bytes())  # noqa: ASYNC240 - a small file in a test
    resolver = Resolver(allow_hosts=[f"{NAME}:{server.port}"], connector=Connector(lookup=rebinding))
    found = await resolve(resolver, http(server.url("/f.gguf", host=NAME), digest))
    assert found.facts.architecture == "llama"
    assert asked == [NAME]
    assert server.seen[0].headers["host"] == f"{NAME}:{server.port}"
    await resolver.aclose()


async def test_the_next_address_is_tried_when_one_does_not_answer(server: Hub) -> None:
    server.add("/f", b"not a GGUF")
    resolver = resolver_for(NAME, lookup={NAME: ["127.0.0.2", "127.0.0.1"]})
    assert (await failure(resolver, http(server.url("/f", host=NAME)))).code == Code.INVALID_MODEL_FILE
    await resolver.aclose()


async def test_the_hubs_host_is_not_open_to_http_sources(server: Hub) -> None:
    resolver = Resolver(endpoint=server.url(""))
    assert (await failure(resolver, http(server.url("/f")))).code == Code.SOURCE_REFUSED
    assert server.seen == []


@pytest.mark.parametrize("location", [
    "http://10.0.0.1/x", "http://[::1]:1/x", "http://localhost/x", "//169.254.169.254/", "ftp://127.0.0.1/x",
    "file:///etc/passwd", "http://u:p@example.com/"])
async def test_redirects_into_private_networks_are_refused(server: Hub, location: str) -> None:
    server.always("/f", Behaviour.redirect(location))
    resolver = resolver_for(server.host, lookup={"localhost": ["127.0.0.1"]})
    error = await failure(resolver, http(server.url("/f")))
    assert error.code == Code.SOURCE_REFUSED
    assert len(server.seen) == 1
    await resolver.aclose()


async def test_redirects_are_followed_five_times(server: Hub, weights: Path) -> None:
    digest = server.add("/6", weights.read_bytes())  # noqa: ASYNC240 - a small file in a test
    for number in range(6):
        server.always(f"/{number}", Behaviour.redirect(f"/{number + 1}", 307))
    resolver = resolver_for(server.host)
    assert (await resolve(resolver, http(server.url("/1"), digest))).resolution.files == [server.url("/1")]
    assert "more than 5 redirects" in (await failure(resolver, http(server.url("/0")))).message
    await resolver.aclose()


async def test_no_credentials_go_along_with_http_sources(server: Hub) -> None:
    server.add("/f", b"x")
    resolver = resolver_for(server.host)
    await failure(resolver, http(server.url("/f")))
    assert server.seen[0].headers.keys() == {"host", "accept", "accept-encoding", "user-agent", "range"}
    await resolver.aclose()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture
async def tls(certificate: Path) -> AsyncIterator[Hub]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Hub(tls=context) as server:
        yield server


async def test_certificates_are_checked_against_the_name(
    tls: Hub, certificate: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = tls.add("/f", weights.read_bytes())  # noqa: ASYNC240 - a small file in a test
    tls.always("/down", Behaviour.redirect("http://files.example/f"))
    names = {NAME: ["127.0.0.1"], "other.example": ["127.0.0.1"]}
    untrusting = resolver_for(*names, lookup=names)
    error = await failure(untrusting, http(tls.url("/f", host=NAME)))
    assert (error.code, error.retry_after) == (Code.SOURCE_UNAVAILABLE, 300.0)
    assert "SSL_CERT_FILE" in error.message
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    resolver = resolver_for(*names, lookup=names)
    assert (await resolve(resolver, http(tls.url("/f", host=NAME), digest))).facts.architecture == "llama"
    # The same address, and a connection to it is kept: still not for another name.
    error = await failure(resolver, http(tls.url("/f", host="other.example")))
    assert "is not trusted" in error.message
    assert [seen.headers["host"] for seen in tls.seen] == [f"{NAME}:{tls.port}"]
    error = await failure(resolver, http(tls.url("/down", host=NAME)))
    assert error.code == Code.SOURCE_REFUSED
    assert "from https to http" in error.message
    for each in (untrusting, resolver):
        await each.aclose()


class _Impatient:
    """A server that keeps connections, and closes each when it reads the second request from it."""

    def __init__(self) -> None:
        self.requests: list[int] = []
        self.connections = 0
        self.handlers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> _Impatient:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self.handlers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.handlers.append(task)
        self.connections += 1
        number = self.connections
        await reader.readuntil(b"\r\n\r\n")
        self.requests.append(number)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests.append(number)
        except asyncio.IncompleteReadError:
            pass
        writer.close()
        await writer.wait_closed()


async def test_a_kept_connection_that_closes_at_the_next_request_is_replaced() -> None:
    async with _Impatient() as server:
        connector = Connector()
        ask = Ask(url=httpx.URL(f"http://127.0.0.1:{server.port}/"), limit=10, param=PARAM,
                  allow_hosts={f"127.0.0.1:{server.port}"})
        for _ in range(3):
            assert (await connector.get(ask)).body == b"ok"
        await connector.aclose()
        assert server.requests == [1, 1, 2, 2, 3]


async def test_connections_to_many_origins_are_not_all_kept(server: Hub) -> None:
    server.add("/f", b"x")
    names = [f"h{number}.example" for number in range(30)]

    async def loopback(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    connector = Connector(lookup=loopback)
    asks = [Ask(url=httpx.URL(server.url("/f", host=name)), limit=10, param=PARAM, allow_hosts={name})
            for name in names]
    await asyncio.gather(*(connector.get(ask) for ask in asks))
    assert len(connector._kept) <= 8
    assert len(server.seen) == 30
    await connector.aclose()
    with pytest.raises(PaddockError):
        await connector.get(Ask(url=httpx.URL(server.url("/f")), limit=10, param=PARAM, allow_hosts=set()))
    await connector.aclose()
