"""Documents of one kind by key: in memory to be read, in the database to outlive the process."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

D = TypeVar("D", bound=BaseModel)
Put = Callable[[Hashable, Callable[[sqlite3.Connection], object]], None]


class Shelf(Generic[D]):
    """At most `limit` documents: a new one takes the place of that which was put longest ago.

    To be used by one thread. Other parts make their own by `record.shelf(kind, Type)`, with a kind of their own."""

    def __init__(self, kind: str, document: type[D], stored: Iterable[tuple[str, str]], put: Put, *, limit: int
                 ) -> None:
        self._kind, self._put, self._limit = kind, put, limit
        self._documents: OrderedDict[str, D] = OrderedDict()
        for key, content in stored:
            try:
                self._documents[key] = document.model_validate_json(content)
            except ValidationError:  # of another version: as if it were not there
                self.drop(key)

    def get(self, key: str) -> D | None:
        return self._documents.get(key)

    def items(self) -> list[tuple[str, D]]:
        """The one that was put longest ago first."""
        return list(self._documents.items())

    def put(self, key: str, document: D) -> None:
        """On the disk within a second."""
        self._documents[key] = document
        self._documents.move_to_end(key)
        self._store(key, document)
        while len(self._documents) > self._limit:
            self.drop(next(iter(self._documents)))

    def drop(self, key: str) -> None:
        self._documents.pop(key, None)
        self._put((self._kind, key), partial(_delete, self._kind, key))

    def store_again(self) -> None:
        """All of it, into a database that began anew."""
        for key, document in self.items():
            self._store(key, document)

    def _store(self, key: str, document: D) -> None:
        self._put((self._kind, key), partial(_replace, self._kind, key, time.time(), document.model_dump_json()))


def _replace(kind: str, key: str, moment: float, content: str, database: sqlite3.Connection) -> None:
    database.execute("INSERT OR REPLACE INTO documents (kind, key, time, content) VALUES (?, ?, ?, ?)",
                     (kind, key, moment, content))


def _delete(kind: str, key: str, database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))
