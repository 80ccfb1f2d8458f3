"""A download that is not whole yet. It outlives its process: the next one goes on where it ended."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from paddock_runtime.store.digest import Report, feed

_MAX_NOTE_BYTES = 16 << 10


@dataclass(frozen=True)
class Note:
    """What is known of the file that the bytes were taken from. `origin` is a digest of the URL: that may be secret."""

    origin: str | None = None
    validator: str | None = None
    total: int | None = None


class Partial:
    """The bytes so far, their running sha256, and a note. Only the holder of the digest's lock may open one.

    `length` counts bytes that are both written and hashed. `resumed` says that some came from an earlier process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.length = 0
        self.note = Note()
        self.resumed = False
        self._note_path = path.with_name(f"{path.name}.json")
        self._hasher = hashlib.sha256()
        self._descriptor = _open(path)

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    async def recover(self, report: Report) -> None:
        """Take up what an earlier process left: its note, and its bytes by reading them again. Raises OSError."""
        self.note = self._read_note()
        length = os.fstat(self._descriptor).st_size
        if length == 0 or (self.note.total is not None and length > self.note.total):
            self.restart()
            return
        self.length = await feed(self._hasher, self._descriptor, length, report)
        self.resumed = True

    def append(self, data: bytes) -> None:
        """Raises OSError; the file then ends where it ended before."""
        try:
            view = memoryview(data)
            position = self.length
            while view:
                written = os.pwrite(self._descriptor, view, position)
                view, position = view[written:], position + written
        except OSError:
            os.ftruncate(self._descriptor, self.length)
            raise
        self._hasher.update(data)
        self.length = position

    def restart(self) -> None:
        """Forget every byte. Raises OSError."""
        os.ftruncate(self._descriptor, 0)
        self.length = 0
        self._note_path.unlink(missing_ok=True)
        self.note = Note()
        self.resumed = False
        self._hasher = hashlib.sha256()

    def describe(self, note: Note) -> None:
        """Keep the note beside the bytes. Raises OSError."""
        if note == self.note:
            return
        temporary = self._note_path.with_name(f"{self._note_path.name}.new")
        temporary.write_text(json.dumps(asdict(note)), encoding="ascii")
        os.replace(temporary, self._note_path)
        self.note = note

    def sha256(self) -> str:
        return self._hasher.hexdigest()

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)

    def publish(self, target: Path) -> None:
        """Make the bytes durable and visible as `target`, read-only, in one step. Raises OSError."""
        os.fchmod(self._descriptor, 0o444)
        os.fsync(self._descriptor)
        os.replace(self.path, target)
        for folder in {target.parent, self.path.parent}:
            _sync_folder(folder)
        self._note_path.unlink(missing_ok=True)

    def _read_note(self) -> Note:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError), open(self._note_path, "rb") as file:
            record: dict[str, Any] = json.loads(file.read(_MAX_NOTE_BYTES))
            texts = (record["origin"], record["validator"])
            if isinstance(record["total"], int | None) and all(isinstance(text, str | None) for text in texts):
                return Note(**record)
        return Note()


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except PermissionError:
        os.chmod(path, 0o600)  # a process died between making it read-only and renaming it
        return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
