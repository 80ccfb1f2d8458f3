"""`source.http`: size and facts by range, from servers of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paddock_api.errors import Code
from paddock_api.gguf import parse_header
from paddock_api.revision import Resolution
from paddock_operator.hub import Connector
from paddock_operator.hub.errors import RateLimited, Unavailable
from paddock_operator.resolve import Resolver
from paddock_operator.resolve.header import FIRST_BYTES
from tests.hub import Behaviour, Hub
from tests.integration.operator_resolve.kit import failure, http, resolve, write_shards


@pytest.fixture
async def server() -> AsyncIterator[Hub]:
    async with Hub() as server:
        yield server


@pytest.fixture
async def resolver(server: Hub) -> AsyncIterator[Resolver]:
    resolver = Resolver(allow_hosts=[server.host], deadline=0.5, connector=Connector(step_seconds=0.4))
    yield resolver
    await resolver.aclose()


@pytest.fixture
def content(weights: Path) -> bytes:
    return weights.read_bytes()


async def test_a_file(server: Hub, resolver: Resolver, content: bytes) -> None:
    digest = server.add("/a%20b/m.gguf", content)
    found = await resolve(resolver, http(server.url("/a%20b/m.gguf?sig=1"), digest))
    assert found.resolution == Resolution(sha256=digest, size=len(content), files=[server.url("/a%20b/m.gguf?sig=1")])
    assert found.header == parse_header(content)
    assert (found.facts.file, found.facts.commit, found.facts.size_bytes) == ("m.gguf", None, len(content))
    assert found.facts.architecture == "llama"
    assert [seen.headers["range"] for seen in server.seen] == [f"bytes=0-{FIRST_BYTES - 1}"]


async def test_gemmas_header_by_ranges_alone(server: Hub, resolver: Resolver, gemma: Path) -> None:
    content = gemma.read_bytes()  # noqa: ASYNC240 - the server has to hold it
    digest = server.add("/g.gguf", content)
    found = await resolve(resolver, http(server.url("/g.gguf"), digest))
    assert found.facts.architecture == "gemma3"
    assert found.header is not None
    assert server.sent("/g.gguf") <= 2 * found.header.data_offset + FIRST_BYTES
    assert {seen.status for seen in server.seen} == {206}


async def test_a_server_without_ranges_is_left_after_what_is_needed(
    server: Hub, resolver: Resolver, content: bytes
) -> None:
    large = content + bytes(64 << 20)
    digest = server.add("/m.gguf", large)
    server.always("/m.gguf", Behaviour(ranges=False))
    found = await resolve(resolver, http(server.url("/m.gguf"), digest))
    assert found.resolution.size == len(large)
    assert server.sent("/m.gguf") < 16 << 20, "the rest stays in the server's socket"


async def test_a_server_that_tells_no_size(server: Hub, resolver: Resolver, content: bytes) -> None:
    digest = server.add("/m.gguf", content)
    server.always("/m.gguf", Behaviour(ranges=False, framing="chunked"))
    found = await resolve(resolver, http(server.url("/m.gguf"), digest))
    assert (found.resolution.size, found.resolution.sha256) == (None, digest)
    assert found.facts.size_bytes is None


async def test_it_is_asked_once_and_a_pin_not_at_all(server: Hub, resolver: Resolver, content: bytes) -> None:
    digest = server.add("/m.gguf", content)
    found = await resolve(resolver, http(server.url("/m.gguf"), digest))
    assert await resolve(resolver, http(server.url("/m.gguf"), digest)) == found
    assert len(server.seen) == 1
    server.always("/m.gguf", Behaviour(status=500))
    assert await resolve(resolver, http(server.url("/m.gguf"), digest), pinned=found, follow=True) == found
    assert len(server.seen) == 1


async def test_one_shard_of_several_is_refused(server: Hub, resolver: Resolver, tmp_path: Path) -> None:
    shards = write_shards(tmp_path, "m")
    digest = server.add("/m.gguf", shards[0].read_bytes())
    error = await failure(resolver, http(server.url("/m.gguf"), digest))
    assert (error.code, error.param) == (Code.INVALID_MODEL_FILE, "source.http.url")
    assert "it is one of 4 shards" in error.message
    assert "source.huggingFace" in error.message


@pytest.mark.parametrize(("behaviour", "code", "says"), [
    (Behaviour(status=404), Code.SOURCE_NOT_FOUND, "does not exist (HTTP 404): correct the URL"),
    (Behaviour(status=410), Code.SOURCE_NOT_FOUND, "does not exist (HTTP 410)"),
    (Behaviour(status=401), Code.SOURCE_REFUSED, "needs credentials, and http sources carry none"),
    (Behaviour(status=400), Code.SOURCE_REFUSED, "answered HTTP 400"),
    (Behaviour(status=500), Code.SOURCE_UNAVAILABLE, "has trouble (HTTP 500)"),
    (Behaviour(silent=True), Code.SOURCE_UNAVAILABLE, "did not answer"),
    (Behaviour(hang=100), Code.SOURCE_UNAVAILABLE, "did not answer"),
    (Behaviour(cut=100), Code.SOURCE_UNAVAILABLE, "was cut"),
    (Behaviour(drip=0.05), Code.SOURCE_UNAVAILABLE, "did not answer within"),
    (Behaviour(shift=1), Code.SOURCE_UNAVAILABLE, "a range that was not asked for"),
    (Behaviour(headers={"Content-Encoding": "gzip"}), Code.SOURCE_UNAVAILABLE, "sent compressed"),
    (Behaviour(flip=0), Code.INVALID_MODEL_FILE, "not a GGUF file"),
])
async def test_what_goes_wrong(
    server: Hub, resolver: Resolver, content: bytes, behaviour: Behaviour, code: Code, says: str
) -> None:
    digest = server.add("/m.gguf", content)
    server.next("/m.gguf", *[behaviour] * 2)  # a connection that breaks before the answer is tried twice
    error = await failure(resolver, http(server.url("/m.gguf?sig=CANARY"), digest))
    assert error.code == code
    assert says in error.message
    assert "CANARY" not in error.message
    if code is Code.SOURCE_UNAVAILABLE:
        assert isinstance(error, Unavailable)
        assert error.retry_after


async def test_a_limit_holds_for_the_host(server: Hub, resolver: Resolver, content: bytes) -> None:
    digest = server.add("/m.gguf", content)
    server.next("/m.gguf", Behaviour(status=429, headers={"Retry-After": "20"}))
    for path in ("/m.gguf", "/m.gguf", "/other.gguf"):
        error = await failure(resolver, http(server.url(path), digest))
        assert type(error) is RateLimited
        assert error.retry_after is not None
        assert 15.0 < error.retry_after <= 21.0
    assert len(server.seen) == 1
