"""Reading the files of one kind in a folder, all as of one moment."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paddock_runtime.config.problem import ConfigProblem

_TRIES = 5
_PAUSE_SECONDS = 0.05

Mark = tuple[object, ...]


@dataclass(frozen=True)
class Kind:
    """Which files are read: `is_one` by name, at most `max_files` of them. One that is longer than `max_bytes` is cut
    one byte after that, so that its reader can tell."""

    plural: str
    is_one: Callable[[str], bool]
    max_files: int
    max_bytes: int


@dataclass(frozen=True)
class Reading:
    """`mark` is what `stat` said of everything; while it stays the same nothing needs to be read again."""

    files: dict[str, bytes]
    problems: list[ConfigProblem]
    mark: Mark

    def digest(self) -> str:
        """Equal for readings that brought the same."""
        hasher = hashlib.sha256()
        for name, data in sorted(self.files.items()):
            hasher.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
        for problem in self.problems:
            hasher.update(str(problem).encode("utf-8", "surrogateescape"))
        return hasher.hexdigest()


def mark_of(folder: Path, kind: Kind) -> Mark:
    """What can be seen of the folder without reading files: names, and the identity of what they lead to."""
    try:
        names = _names(folder, kind)
        top = folder.stat()
    except OSError as error:
        return (error.errno,)
    return (top.st_dev, top.st_ino, *((name, _stat(folder / name)) for name in names))


def read_folder(folder: Path, kind: Kind) -> Reading:
    """All files, read while nothing changed: never half of an old and half of a new set. Blocks up to 0.3 s."""
    for _ in range(_TRIES):
        before = mark_of(folder, kind)
        reading = _read(folder, kind, before)
        if mark_of(folder, kind) == before:
            return reading
        time.sleep(_PAUSE_SECONDS)
    return Reading({}, [_whole(f"the files in {folder} keep changing: they are read when they rest")], ())


def _read(folder: Path, kind: Kind, mark: Mark) -> Reading:
    try:
        names = _names(folder, kind)
    except OSError as error:
        return Reading({}, [_whole(f"the directory {folder} can't be read: {error.strerror}")], mark)
    if len(names) > kind.max_files:
        return Reading({}, [_whole(f"the directory {folder} holds more than {kind.max_files} {kind.plural}")], mark)
    files: dict[str, bytes] = {}
    problems: list[ConfigProblem] = []
    for name in names:
        try:
            files[name] = _content(folder / name, kind.max_bytes)
        except OSError as error:
            problems.append(ConfigProblem(name, None, None, f"can't be read: {error.strerror or error}"))
    return Reading(files, problems, mark)


def _names(folder: Path, kind: Kind) -> list[str]:
    return sorted(name for name in os.listdir(folder) if kind.is_one(name))


def _content(path: Path, max_bytes: int) -> bytes:
    """NONBLOCK: a named pipe must not hang us."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a plain file")
        return file.read(max_bytes + 1)


def _stat(path: Path) -> Mark:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno,)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _whole(message: str) -> ConfigProblem:
    return ConfigProblem("", None, None, message)
