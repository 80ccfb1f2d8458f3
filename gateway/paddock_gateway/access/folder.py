"""The folder of API keys, read again whenever it changes. A Secret's volume changes by one swap of a symbolic link, so
what one pass reads is checked to be of one piece."""

from __future__ import annotations

import logging
from pathlib import Path

from paddock_gateway.access.keys import KeyRing, Keys, read_records

logger = logging.getLogger("paddock.gateway.access")

MAX_RECORD_BYTES = 64 << 10
MAX_RECORDS = 10_000
_TRIES = 5

_Marks = tuple[tuple[str, int, int, int], ...]


class Unsteady(Exception):
    """The folder changed while it was read."""


class KeyFolder:
    """`ring` is always whole and in force. `folder` None: there are no keys. `refresh` is cheap when nothing changed.

    A folder that could not be read yet lets nobody in; one that can't be read any more leaves its last keys in force.
    """

    def __init__(self, folder: Path | None, *, allow_anonymous: bool) -> None:
        self._folder, self._allow_anonymous = folder, allow_anonymous
        self._seen: _Marks | None = None
        self._problems: dict[str, str] = {}
        self._complaint = ""
        self._configured = False
        self.ring = KeyRing(Keys({}, {}), open_=allow_anonymous and folder is None)
        self.refresh()

    def refresh(self) -> None:
        if self._folder is None:
            return
        try:
            read = _read(self._folder, self._seen)
        except (OSError, Unsteady) as error:
            self._complain(str(error))
            return
        self._complaint = ""
        if read is not None:
            keys, self._seen = read
            self._tell(keys)
            self.ring = self._make(keys)

    def _make(self, keys: Keys) -> KeyRing:
        """Once there were keys, their absence does not open the door again."""
        self._configured = self._configured or keys.configured
        return KeyRing(keys, open_=self._allow_anonymous and not self._configured)

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            logger.error("the API keys can't be read, what was known stays in force: %s", text)

    def _tell(self, keys: Keys) -> None:
        for name, problem in keys.problems.items():
            if self._problems.get(name) != problem:
                logger.error("the API key %s can't be used: %s", name, problem)
        self._problems = dict(keys.problems)
        logger.info("API keys read", extra={"data": {"usable": len(keys.grants), "unusable": len(keys.problems)}})


def _read(folder: Path, seen: _Marks | None) -> tuple[Keys, _Marks] | None:
    """None if nothing changed since `seen`."""
    for _ in range(_TRIES):
        try:
            before = _marks(folder)
            if before == seen:
                return None
            entries = {name: _content(folder / name) for name, *_ in before}
            if _marks(folder) == before:
                return read_records(entries), before
        except FileNotFoundError:
            if not folder.is_dir():
                raise
    raise Unsteady(f"{folder} changes all the time")


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_RECORD_BYTES)


def _marks(folder: Path) -> _Marks:
    """What tells one content from another. Names that begin with a dot are Kubernetes' own (`..data`)."""
    marks = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        stat = path.stat()
        marks.append((path.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    if len(marks) > MAX_RECORDS:
        raise Unsteady(f"{folder} holds more than {MAX_RECORDS} keys")
    return tuple(marks)
