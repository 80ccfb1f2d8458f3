"""Reading the manifest files of a directory, all as of one moment."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from paddock_runtime.config.documents import MAX_FILE_BYTES
from paddock_runtime.config.problem import ConfigProblem

_SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILES = 10_000
_TRIES = 5
_PAUSE_SECONDS = 0.05

Mark = tuple[object, ...]


@dataclass(frozen=True)
class Reading:
    """`mark` is what `stat` said of everything; while it stays the same nothing needs to be read again."""

    files: dict[str, bytes]
    problems: list[ConfigProblem]
    mark: Mark


def mark_of(folder: Path) -> Mark:
    """What can be seen of the directory without reading files: names, and the identity of what they lead to."""
    try:
        names = _manifests(folder)
        top = folder.stat()
    except OSError as error:
        return (error.errno,)
    return (top.st_dev, top.st_ino, *((name, _stat(folder / name)) for name in names))


def read_folder(folder: Path) -> Reading:
    """All manifests, read while nothing changed: never half of an old and half of a new set. Blocks up to 0.3 s."""
    for _ in range(_TRIES):
        before = mark_of(folder)
        reading = _read(folder, before)
        if mark_of(folder) == before:
            return reading
        time.sleep(_PAUSE_SECONDS)
    return Reading({}, [_whole(f"the files in {folder} keep changing: they are read when they rest")], ())


def _read(folder: Path, mark: Mark) -> Reading:
    try:
        names = _manifests(folder)
    except OSError as error:
        return Reading({}, [_whole(f"the directory {folder} can't be read: {error.strerror}")], mark)
    if len(names) > MAX_FILES:
        return Reading({}, [_whole(f"the directory {folder} holds more than {MAX_FILES} manifests")], mark)
    files: dict[str, bytes] = {}
    problems: list[ConfigProblem] = []
    for name in names:
        try:
            files[name] = _content(folder / name)
        except OSError as error:
            problems.append(ConfigProblem(name, None, None, f"can't be read: {error.strerror or error}"))
    return Reading(files, problems, mark)


def _manifests(folder: Path) -> list[str]:
    """Names only; hidden ones are editors' and kubelet's own."""
    return sorted(name for name in os.listdir(folder) if name.lower().endswith(_SUFFIXES) and not name.startswith("."))


def _content(path: Path) -> bytes:
    """At most one byte more than a manifest may have. NONBLOCK: a named pipe must not hang us."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a plain file")
        return file.read(MAX_FILE_BYTES + 1)


def _stat(path: Path) -> Mark:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno,)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _whole(message: str) -> ConfigProblem:
    return ConfigProblem("", None, None, message)
