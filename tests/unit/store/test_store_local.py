"""Files in place: digests are remembered, changes are noticed; input 5 (paths that try to leave a volume)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.source import FileSource, HuggingFaceSource, Source
from paddock_runtime.store import FileStore, digest
from paddock_runtime.store.artifact import identity_of

DATA = b"weights" * 1000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.gguf"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    root = tmp_path / "volume"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.gguf").write_bytes(DATA)
    return root


@pytest.fixture
def store(tmp_path: Path, volume: Path) -> FileStore:
    return FileStore(tmp_path / "cache", volumes={"shared": volume})


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read whole."""
    paths: list[Path] = []
    original = digest._hash

    async def count(path: Path, size: int, report: Callable[[float | None], None]) -> str:
        paths.append(path)
        return await original(path, size, report)

    monkeypatch.setattr(digest, "_hash", count)
    return paths


def ignore(fraction: float | None) -> None:
    pass


def here(path: Path | str, sha256: str | None = None) -> Source:
    return Source(file=FileSource(path=str(path), sha256=sha256))


async def failure(store: FileStore, source: Source, *files: str) -> PaddockError:
    assert store.present(source, files) is None
    with pytest.raises(PaddockError) as caught:
        await store.ensure(source, files=files, progress=ignore)
    return caught.value


async def test_a_file_is_used_in_place_and_read_once(store: FileStore, weights: Path, hashed: list[Path]) -> None:
    assert store.present(here(weights)) is None
    fractions: list[float | None] = []
    artifact = await store.ensure(here(weights), progress=fractions.append)
    assert (artifact.sha256, artifact.size, artifact.paths) == (SHA, len(DATA), (weights,))
    assert fractions[-1] == 1.0
    assert store.present(here(weights)) == artifact
    assert await store.ensure(here(weights), progress=ignore) == artifact
    store.verify(artifact)
    assert hashed == [weights]


async def test_a_restart_does_not_read_it_again(tmp_path: Path, weights: Path, hashed: list[Path]) -> None:
    artifact = await FileStore(tmp_path / "cache").ensure(here(weights), progress=ignore)
    again = FileStore(tmp_path / "cache")
    assert again.present(here(weights)) == artifact
    assert await again.ensure(here(weights), progress=ignore) == artifact
    assert len(hashed) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"path": 1}', b"\xff",
                                    b'{"path": "x", "identity": [1], "sha256": "y"}'])
async def test_a_damaged_index_only_costs_a_reading(
    tmp_path: Path, weights: Path, hashed: list[Path], damage: bytes
) -> None:
    artifact = await FileStore(tmp_path / "cache").ensure(here(weights), progress=ignore)
    [entry] = (tmp_path / "cache" / "index").iterdir()
    entry.write_bytes(damage)
    again = FileStore(tmp_path / "cache")
    assert again.present(here(weights)) is None
    assert await again.ensure(here(weights), progress=ignore) == artifact
    assert len(hashed) == 2


async def test_the_spec_stays_relative_and_the_path_comes_resolved(store: FileStore, weights: Path) -> None:
    artifact = await store.ensure(here("weights.gguf"), files=[str(weights)], progress=ignore)
    assert artifact.paths == (weights,)
    assert (await failure(store, here("weights.gguf"))).code == Code.SOURCE_REFUSED


def change(path: Path, *, keep_mtime: bool = False) -> None:
    """Other bytes, the same number of them."""
    stamp = path.stat()
    path.write_bytes(DATA.swapcase())
    if keep_mtime:
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


async def test_a_changed_file_has_a_new_digest(store: FileStore, weights: Path) -> None:
    before = await store.ensure(here(weights), progress=ignore)
    change(weights)
    assert store.present(here(weights)) is None
    with pytest.raises(PaddockError) as caught:
        store.verify(before)
    assert caught.value.code == Code.CHECKSUM_MISMATCH
    after = await store.ensure(here(weights), progress=ignore)
    assert after.sha256 == hashlib.sha256(DATA.swapcase()).hexdigest()
    store.verify(after)


async def test_same_size_same_mtime_is_noticed_too(store: FileStore, weights: Path) -> None:
    before = await store.ensure(here(weights), progress=ignore)
    change(weights, keep_mtime=True)
    with pytest.raises(PaddockError):
        store.verify(before)


async def test_verify_tells_truncated_from_missing_from_replaced(store: FileStore, weights: Path) -> None:
    artifact = await store.ensure(here(weights), progress=ignore)
    os.truncate(weights, 10)
    with pytest.raises(PaddockError) as caught:
        store.verify(artifact)
    assert caught.value.code == Code.SIZE_MISMATCH
    assert "10 bytes" in caught.value.message
    os.unlink(weights)
    with pytest.raises(PaddockError) as caught:
        store.verify(artifact)
    assert caught.value.code == Code.SOURCE_NOT_FOUND
    os.mkdir(weights)
    with pytest.raises(PaddockError) as caught:
        store.verify(artifact)
    assert caught.value.code == Code.SOURCE_REFUSED


async def test_a_digest_in_the_spec_is_held_to(store: FileStore, weights: Path, hashed: list[Path]) -> None:
    assert (await store.ensure(here(weights, SHA), progress=ignore)).sha256 == SHA
    for _ in range(3):
        error = await failure(store, here(weights, "0" * 64))
        assert error.code == Code.CHECKSUM_MISMATCH
        assert SHA in error.message
        assert "0" * 64 in error.message
    assert len(hashed) == 1  # the failure is remembered with the digest


async def test_a_file_being_written_is_not_given_a_digest(
    store: FileStore, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = digest._hash

    async def meddle(path: Path, size: int, report: Callable[[float | None], None]) -> str:
        found = await original(path, size, report)
        os.utime(path)
        return found

    monkeypatch.setattr(digest, "_hash", meddle)
    error = await failure(store, here(weights))
    assert error.code == Code.SOURCE_UNAVAILABLE
    assert "changes while it is read" in error.message


async def test_a_link_is_followed_and_its_retargeting_noticed(
    store: FileStore, weights: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"other")
    link = tmp_path / "link.gguf"
    link.symlink_to(weights)
    assert (await store.ensure(here(link), progress=ignore)).paths == (weights,)
    link.unlink()
    link.symlink_to(other)
    assert store.present(here(link)) is None
    assert (await store.ensure(here(link), progress=ignore)).paths == (other,)


async def test_what_is_no_plain_file_is_refused(store: FileStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "socket"))
    unix.close()
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero"), tmp_path / "loop"):
        async with asyncio.timeout(10):
            assert (await failure(store, here(path))).code == Code.SOURCE_REFUSED


async def test_a_missing_file_is_named(store: FileStore, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.gguf", tmp_path / "no" / "such.gguf", tmp_path / "weights.gguf" / "below"):
        error = await failure(store, here(path))
        assert error.code == Code.SOURCE_NOT_FOUND
        assert str(path) in error.message
        assert not error.permanent


async def test_a_volume_that_hangs_hangs_no_event_loop(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()

    def noticed(name: str) -> Callable[..., Any]:
        real: Callable[..., Any] = getattr(os, name)

        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if str(path) == str(tmp_path / "slow.gguf"):
                here = threading.current_thread() is threading.main_thread()
                asked.add(f"{name} on {'the loop' if here else 'a thread'}")
            return real(path, *arguments, **options)

        return call

    (tmp_path / "slow.gguf").write_bytes(b"x" * 1000)
    for name in ("open", "lstat", "stat"):
        monkeypatch.setattr(os, name, noticed(name))
    await store.ensure(Source(file=FileSource(path=str(tmp_path / "slow.gguf"))), progress=ignore)
    assert {"open on a thread", "lstat on a thread"} <= asked
    assert not [each for each in asked if each.endswith("the loop")]


async def test_readers_share_one_reading(store: FileStore, weights: Path, hashed: list[Path]) -> None:
    found = await asyncio.gather(*(store.ensure(here(weights), progress=ignore) for _ in range(10)))
    assert len(set(found)) == 1
    assert len(hashed) == 1


async def test_a_reader_that_is_cancelled_closes_its_file(store: FileStore, tmp_path: Path) -> None:
    large = tmp_path / "large.gguf"
    large.touch()
    os.truncate(large, 1 << 30)
    before = len(os.listdir("/proc/self/fd"))

    def give_up(fraction: float | None) -> None:
        reading.cancel()

    reading = asyncio.ensure_future(store.ensure(here(large), progress=give_up))
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(os.listdir("/proc/self/fd")) == before
    assert store.present(here(large)) is None


def in_volume(path: str, volume: str = "shared") -> Source:
    """Past the API's own check: the store must hold by itself."""
    return Source.model_construct(file=FileSource.model_construct(path=path, volume=volume, sha256=None))


async def test_a_file_in_a_volume(store: FileStore, volume: Path) -> None:
    artifact = await store.ensure(in_volume("sub/a.gguf"), progress=ignore)
    assert artifact.paths == (volume / "sub" / "a.gguf",)
    error = await failure(store, in_volume("sub/b.gguf"))
    assert error.code == Code.SOURCE_NOT_FOUND
    assert "sub/b.gguf" in error.message


@pytest.mark.parametrize("path", ["../weights.gguf", "sub/../../weights.gguf", "/etc/passwd", "sub\\a.gguf", "..", ".",
                                  "%2e%2e/weights.gguf", "sub/\0", "a\0b", "./sub/a.gguf", "sub//a.gguf", "C:/x"])
async def test_paths_that_try_to_leave_a_volume(store: FileStore, weights: Path, path: str) -> None:
    assert (await failure(store, in_volume(path))).code == Code.SOURCE_REFUSED


async def test_links_may_not_lead_out_of_a_volume(
    store: FileStore, volume: Path, weights: Path, tmp_path: Path
) -> None:
    (volume / "inside").symlink_to("sub/a.gguf")
    assert (await store.ensure(in_volume("inside"), progress=ignore)).sha256 == SHA
    (volume / "absolute").symlink_to(weights)
    (volume / "relative").symlink_to("../weights.gguf")
    (volume / "folder").symlink_to(tmp_path)
    (volume / "hop").symlink_to("absolute")
    (tmp_path / "volume-two").mkdir()
    (tmp_path / "volume-two" / "x").write_bytes(DATA)
    (volume / "sibling").symlink_to("../volume-two/x")  # a name that starts like the root's is not inside it
    for path in ("absolute", "relative", "folder/weights.gguf", "hop", "sibling"):
        assert (await failure(store, in_volume(path))).code == Code.SOURCE_REFUSED


async def test_volumes_that_are_unknown_or_not_mounted(tmp_path: Path, store: FileStore) -> None:
    error = await failure(store, in_volume("a", volume="secret"))
    assert error.code == Code.SOURCE_REFUSED
    assert "shared" in error.message
    late = FileStore(tmp_path / "cache", volumes={"late": tmp_path / "unmounted"})
    error = await failure(late, in_volume("a", volume="late"))
    assert error.code == Code.SOURCE_UNAVAILABLE
    assert not error.permanent


async def test_nul_and_sources_of_later_versions(store: FileStore) -> None:
    odd = Source.model_construct(file=FileSource.model_construct(path="/srv/\0", volume=None, sha256=None))
    assert (await failure(store, odd)).code == Code.SOURCE_REFUSED
    later = Source(hugging_face=HuggingFaceSource(repo="a/b"))
    error = await failure(store, later)
    assert (error.code, error.param) == (Code.SOURCE_REFUSED, "source.huggingFace")


async def test_a_full_disk_does_not_keep_a_file_in_place_from_use(
    tmp_path: Path, store: FileStore, weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    artifact = await store.ensure(here(weights), progress=ignore)
    assert store.present(here(weights)) == artifact
    assert "index" in caplog.text
    assert list((tmp_path / "cache" / "index").iterdir()) == []


def test_identity_is_of_the_link_itself(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "link").symlink_to(weights)
    with pytest.raises(PaddockError) as caught:
        identity_of(tmp_path / "link")
    assert "symbolic link" in caught.value.message
