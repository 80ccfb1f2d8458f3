"""The one thread that touches the database. Who writes never waits for a disk; what was written is read after it."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from paddock_runtime.record.database import damaged, move_aside, open_database

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], object]

_log = logging.getLogger("paddock.record")
_DELAY = 0.2  # seconds for which writes are gathered into one transaction
_RETRY = 5.0  # seconds until a disk that refused is asked again
_BOUND = 20_000  # writes that may wait; what comes then is let go
_END = 10.0  # seconds for the last writes


class Writer:
    """`put` and `read` may be called from any thread. `lost` is told, on the writer's thread, when the file was damaged
    and a new one begins."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, lost: Callable[[], None]) -> None:
        self._path, self._connection, self._lost = path, connection, lost
        self._wake = threading.Condition()
        self._pending: dict[Hashable, Write] = {}
        self._reads: list[Callable[[], None]] = []
        self._number = 0
        self._dropped = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def put(self, key: Hashable | None, write: Write) -> None:
        """Done within a second. One that waits under the same `key` is replaced by it."""
        with self._wake:
            if key is None:
                self._number += 1
                key = self._number
            if key not in self._pending and len(self._pending) >= _BOUND:
                self._dropped += 1
                return
            self._pending.pop(key, None)
            self._pending[key] = write
            self._wake.notify()

    def read(self, query: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Sees all that was put before."""
        future: Future[T] = Future()

        def answer() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(query(self._connection))
            except Exception as error:  # noqa: BLE001  handed to who asked
                future.set_exception(error)

        with self._wake:
            if self._closing:
                future.cancel()
                return future
            self._reads.append(answer)
            self._wake.notify()
        return future

    def close(self) -> None:
        """Returns when all is written, or after a while."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(_END)

    def _run(self) -> None:
        delay = _DELAY
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._pending or self._reads or self._closing)
                self._wake.wait_for(lambda: self._reads or self._closing, timeout=delay)
                writes, self._pending = self._pending, {}
                reads, self._reads = self._reads, []
                closing, dropped, self._dropped = self._closing, self._dropped, 0
            if dropped:
                _log.error("%d changes were not recorded: too many at once, or the disk of %s refuses them", dropped,
                           self._path)
            delay = _DELAY if self._commit(writes) else _RETRY
            for answer in reads:
                answer()
            if closing:
                break
        self._connection.close()

    def _commit(self, writes: dict[Hashable, Write]) -> bool:
        if not writes:
            return True
        try:
            self._transact(writes)
        except sqlite3.Error as error:
            if damaged(error):
                return self._begin_anew(writes, error)
            _log.warning("%s can't be written, it is tried again: %s", self._path, error)
            with self._wake:  # in front of what came meanwhile, which replaces what it repeats
                self._pending = {**{key: write for key, write in writes.items() if key not in self._pending},
                                 **self._pending}
            return False
        return True

    def _transact(self, writes: dict[Hashable, Write]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for write in writes.values():
                try:
                    write(self._connection)
                except sqlite3.Error:
                    raise
                except Exception:  # noqa: BLE001  of one write, not of the others
                    _log.exception("a change could not be recorded")
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _begin_anew(self, writes: dict[Hashable, Write], error: sqlite3.Error) -> bool:
        _log.error("%s is damaged (%s): it is moved aside, and a new one begins", self._path, error)
        try:
            self._connection.close()
            move_aside(self._path)
            self._connection, _ = open_database(self._path)
            self._transact(writes)
        except (OSError, sqlite3.Error) as second:
            _log.error("%s can't be made anew, what happens is not recorded: %s", self._path, second)
            return False
        self._lost()
        return True
