"""The folder of keys: changes as Kubernetes makes them, and failures."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from paddock_api.errors import PaddockError
from paddock_gateway.access.folder import KeyFolder
from tests.unit.gateway.test_keys import KEY, record


class Mounted:
    """A Secret's volume as kubelet writes it: files are links into `..data`, which is a link that is swapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._version = 0

    def write(self, entries: dict[str, bytes]) -> None:
        self._version += 1
        folder = self.path / f"..version_{self._version}"
        folder.mkdir()
        for name, content in entries.items():
            (folder / name).write_bytes(content)
        swap = self.path / "..data_tmp"
        swap.symlink_to(folder.name)
        swap.replace(self.path / "..data")
        for link in self.path.iterdir():
            if not link.name.startswith("..") and link.name not in entries:
                link.unlink()
        for name in entries:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "keys")


def _admits(folder: KeyFolder, key: bytes | None = KEY) -> bool:
    try:
        folder.ring.admit([] if key is None else [b"Bearer " + key])
    except PaddockError:
        return False
    return True


def test_keys_come_and_go_with_the_files(mounted: Mounted) -> None:
    mounted.write({"alice": record()})
    folder = KeyFolder(mounted.path, allow_anonymous=False)
    assert _admits(folder)
    mounted.write({"alice": record(b"the-new-key"), "bob": record(b"bobs-key")})
    folder.refresh()
    assert [_admits(folder, key) for key in (KEY, b"the-new-key", b"bobs-key")] == [False, True, True]
    mounted.write({"bob": record(b"bobs-key")})
    folder.refresh()
    assert [_admits(folder, key) for key in (b"the-new-key", b"bobs-key")] == [False, True]


def test_nothing_is_read_when_nothing_changed(mounted: Mounted) -> None:
    mounted.write({"alice": record()})
    folder = KeyFolder(mounted.path, allow_anonymous=False)
    before = folder.ring
    folder.refresh()
    assert folder.ring is before


def test_anonymous_until_the_first_key_and_never_again(mounted: Mounted) -> None:
    folder = KeyFolder(mounted.path, allow_anonymous=True)
    assert _admits(folder, None)
    mounted.write({"alice": record()})
    folder.refresh()
    assert not _admits(folder, None)
    mounted.write({})
    folder.refresh()
    assert not _admits(folder, None), "deny by default once configured"
    assert not _admits(folder), "a key that was taken away is no key"


def test_no_folder(tmp_path: Path) -> None:
    assert _admits(KeyFolder(None, allow_anonymous=True), None)
    assert not _admits(KeyFolder(None, allow_anonymous=False), None)
    missing = KeyFolder(tmp_path / "missing", allow_anonymous=True)
    assert not _admits(missing, None), "a folder that should be there and is not lets nobody in"


def test_an_unreadable_folder_leaves_the_last_keys(mounted: Mounted, caplog: pytest.LogCaptureFixture) -> None:
    mounted.write({"alice": record()})
    folder = KeyFolder(mounted.path, allow_anonymous=False)
    hidden = mounted.path.rename(mounted.path.with_name("hidden"))
    with caplog.at_level(logging.ERROR):
        folder.refresh()
        folder.refresh()
    assert _admits(folder)
    assert len(caplog.records) == 1, "said once"
    hidden.rename(mounted.path)
    mounted.write({})
    folder.refresh()
    assert not _admits(folder)


def test_a_bad_record_is_said_once_and_never_shown(mounted: Mounted, caplog: pytest.LogCaptureFixture) -> None:
    mounted.write({"alice": b'{"sha256": "pk-in-clear", "namespaces": []}', "bob": record()})
    with caplog.at_level(logging.INFO):
        folder = KeyFolder(mounted.path, allow_anonymous=False)
        os.utime(mounted.path / "..data" / "alice", (0, 0))
        folder.refresh()
    assert _admits(folder)
    assert "pk-in-clear" not in caplog.text
    assert sum("alice" in each.getMessage() for each in caplog.records) == 1
