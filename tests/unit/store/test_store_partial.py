"""The partial file over errors and restarts, and the books on disk space."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store.partial import Note, Partial
from paddock_runtime.store.space import DiskSpace, write_error


def ignore(fraction: float | None) -> None:
    pass


async def test_it_goes_on_where_the_last_process_ended(tmp_path: Path) -> None:
    note = Note("origin", '"etag"', 11)
    with Partial(tmp_path / "p") as partial:
        await partial.recover(ignore)
        partial.describe(note)
        partial.append(b"hello ")
        assert not partial.resumed
    with Partial(tmp_path / "p") as partial:
        await partial.recover(ignore)
        assert (partial.length, partial.note, partial.resumed) == (6, note, True)
        partial.append(b"world")
        assert partial.sha256() == hashlib.sha256(b"hello world").hexdigest()


async def test_a_failed_write_leaves_file_and_digest_in_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    calls: list[int] = []

    def short(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[:3], offset)

    with Partial(tmp_path / "p") as partial:
        partial.append(b"kept ")
        monkeypatch.setattr(os, "pwrite", short)
        with pytest.raises(OSError, match="full"):
            partial.append(b"torn off")
        assert (tmp_path / "p").read_bytes() == b"kept "
        monkeypatch.setattr(os, "pwrite", real)
        partial.append(b"whole")
        assert partial.sha256() == hashlib.sha256(b"kept whole").hexdigest()
    assert (tmp_path / "p").read_bytes() == b"kept whole"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', '{"origin": 1, "validator": null, "total": null}',
                                  '{"origin": null, "validator": null, "total": "9"}'])
async def test_a_damaged_note_is_no_note(tmp_path: Path, text: str) -> None:
    (tmp_path / "p").write_bytes(b"abc")
    (tmp_path / "p.json").write_text(text)
    with Partial(tmp_path / "p") as partial:
        await partial.recover(ignore)
        assert (partial.length, partial.note) == (3, Note())


async def test_more_than_the_file_has_is_started_anew(tmp_path: Path) -> None:
    with Partial(tmp_path / "p") as partial:
        partial.describe(Note(total=3))
    (tmp_path / "p").write_bytes(b"abcd")
    with Partial(tmp_path / "p") as partial:
        await partial.recover(ignore)
        assert (partial.length, partial.note, partial.resumed) == (0, Note(), False)
    assert (tmp_path / "p").read_bytes() == b""


async def test_publishing_makes_it_read_only_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    with Partial(tmp_path / "p") as partial:
        partial.describe(Note(total=3))
        partial.append(b"abc")
        partial.publish(tmp_path / "blobs" / "b")
    assert stat.S_IMODE((tmp_path / "blobs" / "b").stat().st_mode) == 0o444
    assert sorted(os.listdir(tmp_path)) == ["blobs"]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "p").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"):
        Partial(tmp_path / "p")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_claims_add_up_and_are_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = DiskSpace(tmp_path, 100)
    monkeypatch.setattr(space, "_free", lambda: 1000)
    with space.claimed("a"):
        space.claim("a", 600)
        with space.claimed("b"):
            with pytest.raises(PaddockError) as caught:
                space.claim("b", 301)
            assert caught.value.code == Code.DISK_FULL
            space.used("a", 200)
            space.claim("b", 500)
        space.claim("a", 900)
    with space.claimed("c"):
        space.claim("c", 900)
        with pytest.raises(PaddockError):
            space.claim("c", 901)


@pytest.mark.parametrize(("number", "code"), [
    (errno.ENOSPC, Code.DISK_FULL), (errno.EDQUOT, Code.DISK_FULL), (errno.EIO, Code.SOURCE_UNAVAILABLE),
    (errno.EROFS, Code.SOURCE_UNAVAILABLE)])
def test_what_a_failed_write_means(tmp_path: Path, number: int, code: Code) -> None:
    error = write_error(tmp_path, OSError(number, "x"))
    assert error.code == code
    assert not error.permanent
