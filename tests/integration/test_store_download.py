"""Downloads against a server that fails in every way: fault 4, fault 7, and input 6 where redirects are concerned."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.source import HttpSource, Source
from paddock_runtime.store import FileStore, RetryPolicy
from tests.hub import Behaviour, Hub
from tests.hub.kit import QUICK, http, ignore, noise, store_for

DATA = noise(5_000_003)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub() as hub:
        yield hub


@pytest.fixture
def store(hub: Hub, tmp_path: Path) -> FileStore:
    return store_for(hub, tmp_path / "cache")


async def failure(store: FileStore, source: Source, *, size: int | None = None) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        await store.ensure(source, size=size, progress=ignore)
    return caught.value


def spoil(path: Path, start: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(start)


def blobs(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "cache" / "blobs"))


def partials(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "cache" / "partial"))


async def test_a_file_arrives_whole_read_only_and_is_known_from_then_on(
    hub: Hub, store: FileStore, tmp_path: Path
) -> None:
    sha256 = hub.add("/model.gguf", DATA)
    source = http(hub, "/model.gguf", sha256)
    assert store.present(source) is None
    fractions: list[float | None] = []
    artifact = await store.ensure(source, progress=fractions.append)
    assert artifact.sha256 == sha256
    assert artifact.size == len(DATA)
    assert artifact.paths[0].read_bytes() == DATA
    assert stat.S_IMODE(artifact.paths[0].stat().st_mode) == 0o444
    assert blobs(tmp_path) == [sha256]
    assert partials(tmp_path) == []
    known = [fraction for fraction in fractions if fraction is not None]
    assert known == sorted(known)
    assert known[-1] == 1.0
    assert store.present(source) == artifact
    assert await store.ensure(source, progress=ignore) == artifact
    store.verify(artifact)
    assert len(hub.seen) == 1


async def test_another_store_on_the_same_root_finds_it_without_hashing(hub: Hub, tmp_path: Path) -> None:
    source = http(hub, "/model.gguf", hub.add("/model.gguf", DATA))
    artifact = await store_for(hub, tmp_path / "cache").ensure(source, progress=ignore)
    assert store_for(hub, tmp_path / "cache").present(source) == artifact


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_file_of_unannounced_length(hub: Hub, store: FileStore, framing: str) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(framing="chunked" if framing == "chunked" else "close"))
    assert (await store.ensure(http(hub, "/f", sha256), progress=ignore)).size == len(DATA)


async def test_cut_at_ten_points_it_goes_on_where_it_was_cut(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", *(Behaviour(cut=cut) for cut in (0, 1, 100_000, 65_536, 1_048_576, 7, 500_000, 999_999, 3, 400_000)))
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert hub.sent("/f") == len(DATA)  # not one byte twice
    asked = [seen.headers.get("range") for seen in hub.seen]
    assert asked[:4] == [None, None, "bytes=1-", "bytes=100001-"]
    assert all("if-range" in seen.headers for seen in hub.seen[2:])
    assert len(hub.seen) == 11


async def test_a_length_nobody_announced_is_proven_by_the_digest_alone(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(framing="close", cut=1_000_000))  # looks like a whole answer
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert len(hub.seen) == 2


async def test_a_hanging_server_is_left_and_the_range_resumed(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(silent=True), Behaviour(hang=2_000_000))
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert [seen.headers.get("range") for seen in hub.seen] == [None, None, "bytes=2000000-"]
    assert hub.sent("/f") == len(DATA)


async def test_a_dripping_server_counts_as_hanging(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(drip=0.02))
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert hub.seen[0].sent < 100
    assert len(hub.seen) == 2


async def test_hanging_for_ever_ends_in_an_error_that_asks_for_patience(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(silent=True))
    error = await failure(store, http(hub, "/f", sha256))
    assert error.code == Code.SOURCE_UNAVAILABLE
    assert error.status == 503
    assert error.retry_after is not None
    assert len(hub.seen) == QUICK.fruitless


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
async def test_passing_faults_are_tried_again(hub: Hub, store: FileStore, status: int) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(status=status), Behaviour(status=status))
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert [seen.status for seen in hub.seen] == [status, status, 200]


async def test_faults_that_do_not_pass_exhaust_the_budget(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(status=500))
    error = await failure(store, http(hub, "/f", sha256))
    assert error.code == Code.SOURCE_UNAVAILABLE
    assert "HTTP 500" in error.message
    assert len(hub.seen) == QUICK.fruitless


async def test_retry_after_is_obeyed(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(status=429, headers={"Retry-After": "1"}))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert loop.time() - began >= 1.0


async def test_a_retry_after_beyond_patience_is_handed_on(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(status=429, headers={"Retry-After": "3600"}))
    error = await failure(store, http(hub, "/f", sha256))
    assert (error.code, error.retry_after) == (Code.SOURCE_UNAVAILABLE, 3600.0)
    assert len(hub.seen) == 1


@pytest.mark.parametrize("status", [404, 410])
async def test_what_does_not_exist_is_not_asked_for_twice(hub: Hub, store: FileStore, status: int) -> None:
    hub.always("/f", Behaviour(status=status))
    error = await failure(store, http(hub, "/f", "0" * 64))
    assert error.code == Code.SOURCE_NOT_FOUND
    assert len(hub.seen) == 1


@pytest.mark.parametrize("status", [401, 403, 400, 418, 304, 204])
async def test_other_refusals_are_not_repeated(hub: Hub, store: FileStore, status: int) -> None:
    hub.always("/f", Behaviour(status=status))
    error = await failure(store, http(hub, "/f", "0" * 64))
    assert error.code == Code.SOURCE_UNAVAILABLE
    assert str(status) in error.message
    assert len(hub.seen) == 1


async def test_a_server_without_ranges_is_read_from_the_start_again(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(ranges=False))
    hub.next("/f", Behaviour(cut=3_000_000, ranges=False))
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert [seen.status for seen in hub.seen] == [200, 200]
    assert hub.sent("/f") == len(DATA) + 3_000_000


async def test_a_server_that_lies_about_ranges_is_not_asked_for_them_again(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(cut=3_000_000), Behaviour(shift=5))
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert ["range" in seen.headers for seen in hub.seen] == [False, True, False]


async def test_a_file_that_changed_between_two_answers_is_fetched_anew(hub: Hub, store: FileStore) -> None:
    hub.add("/f", noise(4_000_000, seed=1))
    sha256 = hashlib.sha256(DATA).hexdigest()
    hub.next("/f", Behaviour(cut=2_000_000))
    fetching = asyncio.ensure_future(store.ensure(http(hub, "/f", sha256), progress=ignore))
    await hub.until("/f", 0)
    hub.add("/f", DATA)  # a new ETag: If-Range makes the server send the whole
    assert (await fetching).size == len(DATA)
    assert hub.seen[-1].status == 200


async def test_wrong_bytes_of_the_right_size_are_never_published(hub: Hub, store: FileStore, tmp_path: Path) -> None:
    good = http(hub, "/good", hub.add("/good", noise(10_000, seed=2)))
    kept = await store.ensure(good, progress=ignore)
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(flip=4_999_999))
    error = await failure(store, http(hub, "/f", sha256))
    assert error.code == Code.CHECKSUM_MISMATCH
    assert error.permanent
    assert sha256 in error.message
    wrong = DATA[:4_999_999] + bytes([DATA[4_999_999] ^ 0xFF]) + DATA[5_000_000:]
    assert hashlib.sha256(wrong).hexdigest() in error.message
    assert partials(tmp_path) == []
    assert blobs(tmp_path) == [kept.sha256]
    assert store.present(good) == kept
    assert len([seen for seen in hub.seen if seen.path == "/f"]) == 1


async def test_a_wrong_byte_before_a_cut_costs_one_more_whole_fetch(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(flip=10, cut=1_000_000))
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert [seen.headers.get("range") for seen in hub.seen] == [None, "bytes=1000000-", None]


async def test_more_bytes_than_announced_do_no_harm(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(cut=1_000_000), Behaviour(framing="chunked", extra=100))
    artifact = await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert artifact.size == len(DATA)


async def test_a_size_that_was_resolved_is_held_to(hub: Hub, store: FileStore, tmp_path: Path) -> None:
    sha256 = hub.add("/f", DATA)
    error = await failure(store, http(hub, "/f", sha256), size=len(DATA) + 1)
    assert error.code == Code.SIZE_MISMATCH
    assert hub.sent("/f") < len(DATA) + 1
    hub.always("/f", Behaviour(framing="chunked"))
    error = await failure(store, http(hub, "/f", sha256), size=1000)
    assert error.code == Code.SIZE_MISMATCH
    assert blobs(tmp_path) == []


async def test_an_absurd_size_is_refused_unread(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", b"x" * 100)
    hub.always("/f", Behaviour(headers={"Content-Length": str(3 << 40)}))
    error = await failure(store, http(hub, "/f", sha256))
    assert error.code == Code.SOURCE_REFUSED


async def test_a_compressed_answer_is_refused(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    hub.always("/f", Behaviour(headers={"Content-Encoding": "gzip"}))
    error = await failure(store, http(hub, "/f", sha256))
    assert "Content-Encoding" in error.message
    assert hub.seen[0].headers["accept-encoding"] == "identity"


async def test_many_who_want_one_file_share_one_flight(hub: Hub, store: FileStore) -> None:
    source = http(hub, "/f", hub.add("/f", DATA))
    reports: list[list[float | None]] = [[] for _ in range(20)]
    found = await asyncio.gather(*(store.ensure(source, progress=report.append) for report in reports))
    assert len(set(found)) == 1
    assert len(hub.seen) == 1
    assert all(report[-1] == 1.0 for report in reports)


async def test_who_names_another_place_for_the_same_file_does_not_hear_of_the_wrong_one(
    hub: Hub, store: FileStore
) -> None:
    sha256 = hub.add("/right", DATA)
    hub.always("/wrong", Behaviour(status=404, delay=0.3))
    wrong = asyncio.ensure_future(failure(store, http(hub, "/wrong", sha256)))
    await asyncio.sleep(0.05)
    assert (await store.ensure(http(hub, "/right", sha256), progress=ignore)).sha256 == sha256
    assert (await wrong).code == Code.SOURCE_NOT_FOUND


async def test_two_places_of_one_file_are_one_download(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/one", DATA)
    hub.add("/two", DATA)
    hub.always("/one", Behaviour(rate=20_000_000))
    hub.always("/two", Behaviour(rate=20_000_000))
    sources = [http(hub, path, sha256) for path in ("/one", "/two")]
    found = await asyncio.gather(*(store.ensure(source, progress=ignore) for source in sources))
    assert len(set(found)) == 1
    assert len(hub.seen) == 1


async def test_one_who_leaves_does_not_cut_the_others_off(hub: Hub, store: FileStore) -> None:
    source = http(hub, "/f", hub.add("/f", DATA))
    hub.always("/f", Behaviour(rate=20_000_000))
    first, second = (asyncio.ensure_future(store.ensure(source, progress=ignore)) for _ in range(2))
    await hub.until("/f", 1)
    first.cancel()
    assert (await second).size == len(DATA)
    assert first.cancelled()
    assert len(hub.seen) == 1


async def test_when_the_last_one_leaves_the_download_stops_and_can_be_resumed(
    hub: Hub, store: FileStore, tmp_path: Path
) -> None:
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(rate=10_000_000))
    waiting = asyncio.ensure_future(store.ensure(http(hub, "/f", sha256), progress=ignore))
    await hub.until("/f", 1_500_000)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    kept = (tmp_path / "cache" / "partial" / sha256).stat().st_size
    assert kept > 1_000_000
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert hub.seen[1].headers["range"] == f"bytes={kept}-"


async def test_a_partial_that_is_whole_already_needs_no_byte(hub: Hub, tmp_path: Path) -> None:
    sha256 = hub.add("/f", DATA)
    store = store_for(hub, tmp_path / "cache")
    (tmp_path / "cache" / "partial" / sha256).write_bytes(DATA)
    await store.ensure(http(hub, "/f", sha256), progress=ignore)
    assert [seen.status for seen in hub.seen] == [416]
    assert hub.sent("/f") == 0


async def test_a_rotten_partial_is_replaced(hub: Hub, tmp_path: Path) -> None:
    sha256 = hub.add("/f", DATA)
    store = store_for(hub, tmp_path / "cache")
    (tmp_path / "cache" / "partial" / sha256).write_bytes(b"\0" * 1_000_000)
    assert (await store.ensure(http(hub, "/f", sha256), progress=ignore)).sha256 == sha256


async def test_a_damaged_blob_is_noticed_and_fetched_again(hub: Hub, store: FileStore) -> None:
    source = http(hub, "/f", hub.add("/f", DATA))
    artifact = await store.ensure(source, progress=ignore)
    blob = artifact.paths[0]
    blob.chmod(0o644)
    spoil(blob, b"rot")
    assert store.present(source) is None
    with pytest.raises(PaddockError) as caught:
        store.verify(artifact)
    assert caught.value.code == Code.CHECKSUM_MISMATCH
    mapped = os.open(blob, os.O_RDONLY)  # as an engine has it
    again = await store.ensure(source, progress=ignore)
    assert again.paths[0].read_bytes() == DATA
    assert os.read(mapped, 3) == b"rot"
    os.close(mapped)


async def test_a_touched_blob_is_read_again_and_not_fetched_again(hub: Hub, store: FileStore, tmp_path: Path) -> None:
    source = http(hub, "/f", hub.add("/f", DATA))
    artifact = await store.ensure(source, progress=ignore)
    os.link(artifact.paths[0], tmp_path / "link")  # changes its ctime
    assert store.present(source) is None
    again = await store.ensure(source, progress=ignore)
    assert store.present(source) == again
    assert len(hub.seen) == 1


async def test_redirects_are_followed_five_times_and_no_more(hub: Hub, store: FileStore) -> None:
    sha256 = hub.add("/f", DATA)
    for step in range(5):
        hub.always(f"/{step}", Behaviour.redirect("/f" if step == 4 else f"/{step + 1}", 307))
    assert (await store.ensure(http(hub, "/0", sha256), progress=ignore)).sha256 == sha256
    hub.always("/loop", Behaviour.redirect("/loop"))
    error = await failure(store, http(hub, "/loop", "0" * 64))
    assert error.code == Code.SOURCE_REFUSED
    assert len([seen for seen in hub.seen if seen.path == "/loop"]) == 6


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:1/x", "http://localhost:1/x", "http://169.254.169.254/latest/meta-data", "http://[::1]:1/x",
     "http://[::ffff:10.0.0.1]/x", "http://2130706433:1/x", "http://0x7f.1:1/x", "file:///etc/passwd", "ftp://example.org/x",
     "http://user:secret@127.0.0.1/x", "//10.0.0.1/x", "http://0.0.0.0:1/"],
)
async def test_redirects_to_private_places_are_refused(hub: Hub, store: FileStore, target: str) -> None:
    hub.always("/f", Behaviour.redirect(target))
    error = await failure(store, http(hub, "/f", "0" * 64))
    assert error.code == Code.SOURCE_REFUSED
    assert "secret" not in error.message
    assert len(hub.seen) == 1


async def test_private_hosts_are_refused_unless_allowed(hub: Hub, tmp_path: Path) -> None:
    sha256 = hub.add("/f", DATA)
    error = await failure(FileStore(tmp_path / "strict", retries=QUICK), http(hub, "/f", sha256))
    assert error.code == Code.SOURCE_REFUSED
    assert hub.seen == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse(hub: Hub, tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "127.0.0.1"]

    store = FileStore(tmp_path / "cache", retries=QUICK, resolve=resolve)
    source = Source(http=HttpSource(url=f"http://rebind.example:{hub.port}/f", sha256="0" * 64))
    assert (await failure(store, source)).code == Code.SOURCE_REFUSED
    assert hub.seen == []


async def test_the_connection_goes_to_the_address_that_was_checked(hub: Hub, tmp_path: Path) -> None:
    """DNS rebinding: the name is resolved once a hop, and what was checked is what is connected to."""
    sha256 = hub.add("/f", DATA)
    answers = itertools.chain([["127.0.0.2", "127.0.0.1"]], itertools.repeat(["203.0.113.1"]))

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("xn--mdel-5qa.example", hub.port)
        return next(answers)

    allowed = frozenset({f"mödel.example:{hub.port}".encode("idna").decode()}) | {f"mödel.example:{hub.port}"}
    store = FileStore(tmp_path / "cache", retries=QUICK, resolve=resolve, allow_hosts=allowed)
    source = Source(http=HttpSource(url=f"http://mödel.example:{hub.port}/f", sha256=sha256))
    await store.ensure(source, progress=ignore)
    assert hub.seen[0].headers["host"] == f"xn--mdel-5qa.example:{hub.port}"


async def test_proxies_of_the_environment_are_ignored(
    hub: Hub, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    source = http(hub, "/f", hub.add("/f", DATA))
    assert (await store.ensure(source, progress=ignore)).size == len(DATA)


async def test_a_signature_in_the_url_stays_out_of_messages_logs_and_files(
    hub: Hub, store: FileStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sha256 = hub.add("/f", DATA)
    hub.next("/f", Behaviour(cut=1_000_000), *[Behaviour(status=500)] * QUICK.fruitless)
    error = await failure(store, http(hub, "/f?sig=CANARY", sha256))
    assert "/f" in error.message
    assert "CANARY" not in error.message + caplog.text
    assert hub.seen[0].path == "/f?sig=CANARY"
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 3  # partial, note, lock
    assert not any(b"CANARY" in path.read_bytes() for path in kept)


async def test_a_host_that_nobody_listens_on_is_unavailable(hub: Hub, tmp_path: Path) -> None:
    policy = RetryPolicy(stall_seconds=1, fruitless=2, first_pause=0.01)
    store = FileStore(tmp_path / "cache", retries=policy, allow_hosts=frozenset({"127.0.0.1"}))
    error = await failure(store, Source(http=HttpSource(url="http://127.0.0.1:1/f", sha256="0" * 64)))
    assert error.code == Code.SOURCE_UNAVAILABLE
    assert "no connection" in error.message


async def test_a_name_that_does_not_resolve_is_unavailable(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    store = FileStore(tmp_path / "cache", retries=QUICK, resolve=resolve)
    error = await failure(store, Source(http=HttpSource(url="http://nowhere.example/f", sha256="0" * 64)))
    assert error.code == Code.SOURCE_UNAVAILABLE


async def test_a_hundred_failures_leave_no_descriptor_and_no_partial(
    hub: Hub, store: FileStore, tmp_path: Path
) -> None:
    sha256 = hub.add("/f", noise(10_000))
    hub.always("/f", Behaviour(flip=3))
    await failure(store, http(hub, "/f", sha256))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        assert (await failure(store, http(hub, "/f", sha256))).code == Code.CHECKSUM_MISMATCH
    for _ in range(200):  # the double closes its side a little later
        if len(os.listdir("/proc/self/fd")) <= before:
            break
        await asyncio.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert partials(tmp_path) == []
