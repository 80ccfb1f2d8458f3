"""What a pool's pods fetch: hub files at pinned places, in shards, with a token that only its hub may see."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.source import HuggingFaceSource, Source
from paddock_runtime.store import Credentials, FileStore
from tests.hub import Behaviour, Hub
from tests.hub.kit import QUICK, ignore, noise

TOKEN = "hf_canary0123456789"
DATA = noise(300_000)
SHA = hashlib.sha256(DATA).hexdigest()
PATH = "/org/repo/resolve/c0ffee/model.gguf"
SOURCE = Source(hugging_face=HuggingFaceSource(repo="org/repo", credential="team"))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub() as hub:
        yield hub


@pytest.fixture
async def elsewhere() -> AsyncIterator[Hub]:
    """Another origin: the port differs."""
    async with Hub() as hub:
        yield hub


@pytest.fixture
def store(hub: Hub, elsewhere: Hub, tmp_path: Path) -> FileStore:
    return store_with(hub, elsewhere, tmp_path)


def store_with(hub: Hub, elsewhere: Hub, tmp_path: Path, *, budget: int | None = None) -> FileStore:
    folder = tmp_path / "credentials" / "team"
    folder.mkdir(parents=True)
    (folder / "token").write_text(TOKEN)
    (folder / "endpoint").write_text(hub.url(""))
    return FileStore(tmp_path / "cache", allow_hosts=frozenset({hub.host, elsewhere.host}), retries=QUICK,
                     reserve_bytes=0, budget_bytes=budget, anywhere=False,
                     credentials=Credentials(tmp_path / "credentials", "https://huggingface.co"))


def authorizations(hub: Hub) -> list[str | None]:
    return [seen.headers.get("authorization") for seen in hub.seen]


async def failure(store: FileStore, source: Source, *places: str, sha256s: list[str] | None = None,
                  size: int | None = None) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        await store.ensure(source, files=places, sha256s=sha256s or [SHA] * len(places), size=size, progress=ignore)
    return caught.value


async def test_a_redirect_to_another_origin_does_not_carry_the_token(
    hub: Hub, elsewhere: Hub, store: FileStore
) -> None:
    elsewhere.add("/cdn/file", DATA)
    hub.always(PATH, Behaviour.redirect(elsewhere.url("/cdn/file?signature=secret")))
    artifact = await store.ensure(SOURCE, files=[hub.url(PATH)], sha256s=[SHA], size=len(DATA), progress=ignore)
    assert artifact.paths[0].read_bytes() == DATA
    assert authorizations(hub) == [f"Bearer {TOKEN}"]
    assert authorizations(elsewhere) == [None]


async def test_a_redirect_back_home_does_not_bring_the_token_back(hub: Hub, elsewhere: Hub, store: FileStore) -> None:
    hub.add("/private/file", DATA)
    hub.always(PATH, Behaviour.redirect(elsewhere.url("/bounce")))
    elsewhere.always("/bounce", Behaviour.redirect(hub.url("/private/file")))
    await store.ensure(SOURCE, files=[hub.url(PATH)], sha256s=[SHA], progress=ignore)
    assert authorizations(hub) == [f"Bearer {TOKEN}", None]
    assert authorizations(elsewhere) == [None]


async def test_a_redirect_within_the_hub_keeps_the_token_and_so_does_every_resumed_piece(
    hub: Hub, store: FileStore
) -> None:
    hub.add("/renamed", DATA)
    hub.always(PATH, Behaviour.redirect("/renamed", 307))
    hub.next("/renamed", Behaviour(cut=100_000))
    await store.ensure(SOURCE, files=[hub.url(PATH)], sha256s=[SHA], progress=ignore)
    assert authorizations(hub) == [f"Bearer {TOKEN}"] * 4


async def test_places_at_another_host_get_no_token(hub: Hub, elsewhere: Hub, store: FileStore) -> None:
    elsewhere.add(PATH, DATA)
    await store.ensure(SOURCE, files=[elsewhere.url(PATH)], sha256s=[SHA], progress=ignore)
    assert authorizations(elsewhere) == [None]


async def test_without_a_credential_named_none_is_shown(hub: Hub, store: FileStore) -> None:
    hub.add(PATH, DATA)
    plain = Source(hugging_face=HuggingFaceSource(repo="org/repo"))
    await store.ensure(plain, files=[hub.url(PATH)], sha256s=[SHA], progress=ignore)
    assert authorizations(hub) == [None]


@pytest.mark.parametrize(("credential", "word"), [("team", "does not take the token"), (None, "credentials in source")])
async def test_a_refusal_says_what_helps_and_never_the_token(
    hub: Hub, store: FileStore, credential: str | None, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.always(PATH, Behaviour(status=403, headers={"X-Error-Code": "GatedRepo"}, body=TOKEN.encode()))
    source = Source(hugging_face=HuggingFaceSource(repo="org/repo", credential=credential))
    error = await failure(store, source, hub.url(PATH))
    assert (error.code, error.param) == (Code.SOURCE_UNAVAILABLE, "source.huggingFace")
    assert word in error.message
    assert "gated" in error.message
    assert TOKEN not in error.message + caplog.text


async def test_shards_are_fetched_in_order_each_by_its_digest(hub: Hub, store: FileStore, tmp_path: Path) -> None:
    parts = [noise(200_000, seed=seed) for seed in (1, 2, 3)]
    sha256s = [hub.add(f"/m-0000{number}-of-00003.gguf", part) for number, part in enumerate(parts, start=1)]
    places = [hub.url(f"/m-0000{number}-of-00003.gguf") for number in (1, 2, 3)]
    fractions: list[float | None] = []
    artifact = await store.ensure(SOURCE, files=places, sha256s=sha256s, size=600_000, progress=fractions.append)
    assert [path.read_bytes() for path in artifact.paths] == parts
    assert artifact.sha256s == tuple(sha256s)
    assert (artifact.sha256, artifact.size) == (sha256s[0], 600_000)
    known = [fraction for fraction in fractions if fraction is not None]
    assert known == sorted(known)
    assert known[-1] == 1.0
    assert store.present(SOURCE, places, sha256s) == artifact
    assert store.present(SOURCE, places, [*sha256s[:2], SHA]) is None
    os.unlink(tmp_path / "cache" / "blobs" / sha256s[1])
    assert store.present(SOURCE, places, sha256s) is None
    asked = len(hub.seen)
    await store.ensure(SOURCE, files=places, sha256s=sha256s, progress=ignore)
    assert [seen.path for seen in hub.seen[asked:]] == ["/m-00002-of-00003.gguf"]


async def test_a_bad_shard_spoils_the_file_and_keeps_the_others(hub: Hub, store: FileStore, tmp_path: Path) -> None:
    first = hub.add("/1", noise(100_000, seed=1))
    hub.add("/2", noise(100_000, seed=2))
    error = await failure(store, SOURCE, hub.url("/1"), hub.url("/2"), sha256s=[first, SHA])
    assert (error.code, error.param) == (Code.CHECKSUM_MISMATCH, "source.huggingFace")
    assert os.listdir(tmp_path / "cache" / "blobs") == [first]


async def test_a_disk_budget_is_checked_before_anything_is_asked_for(
    hub: Hub, elsewhere: Hub, tmp_path: Path
) -> None:
    store = store_with(hub, elsewhere, tmp_path, budget=250_000)
    hub.add(PATH, DATA)
    error = await failure(store, SOURCE, hub.url(PATH), size=len(DATA))
    assert error.code == Code.DISK_FULL
    assert "spec.disk" in error.message or "pool's disk" in error.message
    assert hub.seen == []
    small = hub.add("/small", noise(200_000, seed=1))
    await store.ensure(SOURCE, files=[hub.url("/small")], sha256s=[small], size=200_000, progress=ignore)
    second = hub.add("/second", noise(60_000, seed=2))
    assert (await failure(store, SOURCE, hub.url("/second"), sha256s=[second], size=60_000)).code == Code.DISK_FULL
    assert [seen.path for seen in hub.seen] == ["/small"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_disk_budget_holds_when_the_size_was_not_known(
    hub: Hub, elsewhere: Hub, tmp_path: Path, framing: str
) -> None:
    store = store_with(hub, elsewhere, tmp_path, budget=3_000_000)
    sha256 = hub.add(PATH, noise(8_000_000))
    hub.always(PATH, Behaviour(framing="chunked" if framing == "chunked" else "length"))
    assert (await failure(store, SOURCE, hub.url(PATH), sha256s=[sha256])).code == Code.DISK_FULL
    kept = sum(path.stat().st_size for path in (tmp_path / "cache" / "partial").iterdir())
    assert kept <= 3_000_000 + (1 << 20) + 1000
