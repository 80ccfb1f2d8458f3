"""https: certificates are checked against the name, over connections that go to the checked address."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.source import HttpSource, Source
from paddock_runtime.store import FileStore
from tests.hub import Behaviour, Hub
from tests.hub.kit import QUICK, ignore, noise, self_signed

DATA = noise(2_000_000)
NAME = "files.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture
async def hub(certificate: Path) -> AsyncIterator[Hub]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Hub(tls=context) as hub:
        yield hub


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def store_for(hub: Hub, root: Path, *names: str) -> FileStore:
    return FileStore(root, allow_hosts=frozenset(f"{name}:{hub.port}" for name in names), resolve=loopback,
                     retries=QUICK, reserve_bytes=0)


def source(url: str, sha256: str = "0" * 64) -> Source:
    return Source(http=HttpSource(url=url, sha256=sha256))


async def failure(store: FileStore, source: Source) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        await store.ensure(source, progress=ignore)
    return caught.value


async def test_the_bundle_of_the_environment_is_trusted(
    hub: Hub, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(cut=1_000_000))
    artifact = await store_for(hub, tmp_path, NAME).ensure(source(hub.url("/f", host=NAME), sha256), progress=ignore)
    assert artifact.paths[0].read_bytes() == DATA
    assert hub.seen[1].headers["range"] == "bytes=1000000-"
    assert hub.seen[0].headers["host"] == f"{NAME}:{hub.port}"


async def test_an_unknown_signer_is_refused_at_once_with_the_remedy(hub: Hub, tmp_path: Path) -> None:
    error = await failure(store_for(hub, tmp_path, NAME), source(hub.url("/f", host=NAME)))
    assert error.code == Code.SOURCE_UNAVAILABLE
    assert "SSL_CERT_FILE" in error.message
    assert hub.seen == []


async def test_a_certificate_for_another_name_is_refused(
    hub: Hub, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    error = await failure(store_for(hub, tmp_path, "other.example"), source(hub.url("/f", host="other.example")))
    assert "certificate" in error.message
    assert hub.seen == []


async def test_a_redirect_from_https_to_http_is_refused(
    hub: Hub, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    hub.always("/f", Behaviour.redirect(f"http://{NAME}:{hub.port}/g"))
    error = await failure(store_for(hub, tmp_path, NAME), source(hub.url("/f", host=NAME)))
    assert error.code == Code.SOURCE_REFUSED
    assert "https to http" in error.message
    assert len(hub.seen) == 1


async def test_a_redirect_to_another_host_is_checked_and_carries_nothing_along(
    hub: Hub, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with Hub() as plain:
        sha256 = hub.add("/f", DATA)
        cookie = {"Set-Cookie": "session=CANARY", "Location": hub.url("/f", host=NAME)}
        plain.always("/f", Behaviour(status=302, headers=cookie))
        store = FileStore(tmp_path, allow_hosts=frozenset({plain.host, f"{NAME}:{hub.port}"}), resolve=loopback,
                          retries=QUICK, reserve_bytes=0)
        assert (await store.ensure(source(plain.url("/f"), sha256), progress=ignore)).sha256 == sha256
    assert not {"cookie", "authorization", "referer"} & hub.seen[0].headers.keys()
