"""The SQLite file: opened, made, or moved aside when it can't be used."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

SCHEMA = 1
_PAGE_LIMIT = 16 << 20  # bytes that the write-ahead log keeps of the disk after a checkpoint

_TABLES = """
CREATE TABLE revisions (
    model TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, cause TEXT NOT NULL,
    text TEXT NOT NULL, bad TEXT, proven REAL, content TEXT NOT NULL, PRIMARY KEY (model, id)) WITHOUT ROWID;
CREATE TABLE operations (
    sequence INTEGER PRIMARY KEY, model TEXT NOT NULL, time REAL NOT NULL, what TEXT NOT NULL, revision TEXT,
    detail TEXT NOT NULL);
CREATE INDEX operations_of ON operations (model, sequence);
CREATE TABLE usage (
    model TEXT NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (model, hour)) WITHOUT ROWID;
CREATE TABLE firsts (sequence INTEGER PRIMARY KEY, model TEXT NOT NULL, time REAL NOT NULL);
CREATE TABLE documents (
    kind TEXT NOT NULL, key TEXT NOT NULL, time REAL NOT NULL, content TEXT NOT NULL, PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
"""


class Unusable(Exception):
    """The file is no database, a damaged one, or one of another version."""


def open_database(path: Path) -> tuple[sqlite3.Connection, str | None]:
    """The connection, usable from any thread, one at a time; and what there is to say of a file that was moved aside.

    Only one process may call this for a path at a time. Raises OSError and sqlite3.OperationalError."""
    try:
        return _open(path), None
    except Unusable as error:
        aside = move_aside(path)
        return _open(path), f"{path} {error}: it was moved to {aside.name}, and a new one begins"


def move_aside(path: Path) -> Path:
    """Out of the way with it, in place of one that was moved before."""
    aside = path.with_name(f"{path.name}.aside")
    os.replace(path, aside)
    for suffix in ("-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


def damaged(error: sqlite3.Error) -> bool:
    """Whether the file is at fault, and not the disk or the statement: those have classes of their own."""
    return type(error) is sqlite3.DatabaseError


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        _set_up(connection)
    except sqlite3.Error as error:
        connection.close()
        if damaged(error):
            raise Unusable(f"is damaged ({error})") from None
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    # held by one connection alone, the log needs no shared memory: it works on a network's file system too
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA journal_size_limit={_PAGE_LIMIT}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if version == 0 and empty:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")
        return
    if version != SCHEMA:
        raise Unusable(f"was written by another version of Paddock (format {version}, this one knows {SCHEMA})")
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise Unusable(f"is damaged ({str(found).splitlines()[0]})")
