"""The record of one pod: opened at its start, closed at its end, and lost with neither."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from paddock_runtime.record import tables
from paddock_runtime.record.database import open_database
from paddock_runtime.record.shelf import Shelf
from paddock_runtime.record.writer import Write, Writer

D = TypeVar("D", bound=BaseModel)
T = TypeVar("T")

_log = logging.getLogger("paddock.record")
_READ_SECONDS = 10.0
_ENTRIES = 20_000


class NoRecord(Exception):
    """Nothing is recorded here; the text says why."""


class Record:
    """Without a `writer` all works as well, but nothing is kept: `absent` says why."""

    def __init__(self, writer: Callable[[Callable[[], None]], Writer] | None = None, *,
                 stored: dict[str, list[tuple[str, str]]] | None = None, absent: str = "it was not asked for",
                 lock: int | None = None) -> None:
        self._stored, self._lock = stored or {}, lock
        self._shelves: dict[str, Shelf[Any]] = {}
        self._writer = None if writer is None else writer(self._store_again)
        self.absent = absent if writer is None else None

    def shelf(self, kind: str, document: type[D], *, limit: int = _ENTRIES) -> Shelf[D]:
        """Documents of one kind, with those that outlived the last process. Once a kind."""
        made = Shelf(kind, document, self._stored.pop(kind, ()), self.write, limit=limit)
        self._shelves[kind] = made
        return made

    def write(self, key: Hashable | None, write: Write) -> None:
        """See Writer.put. Nothing happens without a record."""
        if self._writer is not None:
            self._writer.put(key, write)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Sees all that was written before. Raises NoRecord."""
        if self._writer is None:
            raise NoRecord(self.absent)
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await asyncio.wrap_future(self._writer.read(query))
        except (sqlite3.Error, TimeoutError) as error:
            raise NoRecord(f"it can't be read: {str(error) or 'the disk takes too long'}") from error

    def read_now(self, query: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Blocks: for the start only, before anything runs."""
        if self._writer is None:
            return otherwise
        try:
            return self._writer.read(query).result(_READ_SECONDS)
        except (sqlite3.Error, TimeoutError) as error:
            _log.warning("the record can't be read: %s", error)
            return otherwise

    def close(self) -> None:
        """Returns when all is on the disk. Blocks."""
        if self._writer is not None:
            self._writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _store_again(self) -> None:
        for shelf in list(self._shelves.values()):
            shelf.store_again()


def open_record(folder: Path, name: str) -> Record:
    """The record in `folder` under `name`, of which each pod on one volume has its own. Never raises for what is wrong
    with the folder or the file: a pod serves without a record too, and says so."""
    name = quote(name, safe="")
    path = folder / f"{name}.sqlite3"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder / f"{name}.lock")
    except OSError as error:
        return _without(f"{folder} can't be used ({error.strerror or error}): give the cache a folder to write to")
    if lock is None:
        return _without(f"another process keeps its own in {path}: give this one a cache of its own")
    try:
        connection, said = open_database(path)
        tables.prune(connection)
        stored = tables.documents(connection)
    except (OSError, sqlite3.Error) as error:
        os.close(lock)
        return _without(f"{path} can't be used ({error}): move it away, or give the disk room")
    if said is not None:
        _log.error("%s", said)
    return Record(lambda lost: Writer(path, connection, lost=lost), stored=stored, lock=lock)


def _without(why: str) -> Record:
    _log.warning("this server keeps no record: %s", why)
    return Record(absent=why)


def _locked(path: Path) -> int | None:
    """The descriptor that holds the lock, which the kernel lets go of however we end; None when another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
