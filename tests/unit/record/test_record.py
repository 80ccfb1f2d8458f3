"""The record on a real disk: what outlives a process, what is bounded, and what happens to an unusable file."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import BaseModel

from paddock_api.history import Done
from paddock_api.model import ModelSpec
from paddock_api.revision import Resolution, Revision, revision_of
from paddock_runtime.record import NoRecord, Record, open_record, tables

GEMMA = "default/gemma"


class Note(BaseModel):
    text: str


@contextmanager
def opened(folder: Path, name: str = "local") -> Iterator[Record]:
    record = open_record(folder, name)
    try:
        yield record
    finally:
        record.close()


def revision(length: int, limit: int = 10, sha256: str | None = None) -> Revision:
    return revision_of(ModelSpec.model_validate({
        "source": {"file": {"path": "/m.gguf"}}, "engine": {"contextLength": length}, "revisionHistoryLimit": limit}),
        Resolution(sha256=sha256))


def accept(record: Record, each: Revision, moment: float = 1.0) -> None:
    record.write(None, lambda database: tables.accept(database, GEMMA, each, moment))


def prove(record: Record, each: Revision) -> None:
    record.write(None, lambda database: tables.mark_proven(database, GEMMA, each.id, 1.0))


def operate(record: Record, number: int) -> None:
    record.write(None, lambda database: tables.operation(database, GEMMA, number, Done.LOAD, None, {"n": number}))


async def numbers(record: Record, desired: Revision) -> list[tuple[int, str, str]]:
    found = await record.read(lambda database: tables.history(database, GEMMA, desired.id))
    return [(each.number, each.cause, each.text) for each in found.revisions]


async def test_revisions_are_numbered_and_a_rollback_is_the_old_one_with_the_next_number(tmp_path: Path) -> None:
    one, two, three = revision(512), revision(1024), revision(1024, sha256="a" * 64)
    with opened(tmp_path) as record:
        for each in (one, one, two, three, one, one):
            accept(record, each)
        assert await numbers(record, one) == [
            (2, "configuration", "the spec changed"), (3, "configuration", "the source changed"),
            (4, "rollback", "back to revision 1")]
        found = await record.read(lambda database: tables.history(database, GEMMA, one.id))
    assert found.revisions[-1].spec == one.spec.model_dump(mode="json")


async def test_old_revisions_go_but_never_the_wanted_nor_the_last_good(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        good = revision(1, limit=2)
        accept(record, good)
        record.write(None, lambda database: tables.mark_proven(database, GEMMA, good.id, 5.0))
        for length in range(2, 9):
            accept(record, revision(length, limit=2))
        found = await record.read(lambda database: tables.history(database, GEMMA, revision(8, limit=2).id))
    assert [each.number for each in found.revisions] == [1, 6, 7, 8]
    assert found.last_good == good.id


async def test_a_bad_mark_is_kept_and_taken_away(tmp_path: Path) -> None:
    one, two = revision(512), revision(1024)
    with opened(tmp_path) as record:
        for each in (one, two):
            accept(record, each)
            prove(record, each)
        record.write(None, lambda database: tables.mark_bad(database, GEMMA, two.id, "load_failed: no"))
        marks = await record.read(tables.marks)
        assert marks.bad == {(GEMMA, two.id): "load_failed: no"}
        assert Revision.model_validate_json(marks.good[GEMMA]) == one
        record.write(None, lambda database: tables.mark_bad(database, GEMMA, two.id, None))
        assert (await record.read(tables.marks)).bad == {}


async def test_operations_and_first_requests_are_bounded_and_hours_add_up(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        for number in range(tables.OPERATIONS + 50):
            operate(record, number)
        record.write(None, lambda database: tables.operation(database, "default/other", 1, Done.PIN, None, {}))
        found = await record.read(lambda database: tables.history(database, GEMMA, None))
        assert [each.detail["n"] for each in found.operations] == list(range(50, tables.OPERATIONS + 50))

        many = [tables.First(GEMMA, float(number)) for number in range(tables.FIRSTS + 5)]
        for _ in range(2):
            record.write(None, lambda database: tables.use(database, [tables.Hour(GEMMA, 7, 3)], many))
        assert await record.read(tables.usage) == [(GEMMA, 7, 6)]
        firsts = await record.read(tables.firsts)
        assert (len(firsts), firsts[-1]) == (tables.FIRSTS, (GEMMA, tables.FIRSTS + 4.0))
        record.write(None, lambda database: tables.forget_old_usage(database, 8 + tables.USAGE_HOURS))
        assert await record.read(tables.usage) == []


def test_a_shelf_outlives_its_process_and_is_bounded(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        shelf = record.shelf("note", Note, limit=2)
        for key in ("a", "b", "a", "c"):
            shelf.put(key, Note(text=key))
        record.shelf("other", Note).put("a", Note(text="another kind"))
    with opened(tmp_path) as record:
        shelf = record.shelf("note", Note, limit=2)
        assert shelf.items() == [("a", Note(text="a")), ("c", Note(text="c"))]
        shelf.drop("a")
    with opened(tmp_path) as record:
        assert record.shelf("note", Note).items() == [("c", Note(text="c"))]


def test_what_was_put_a_second_ago_outlives_a_kill(tmp_path: Path) -> None:
    """No close, no flush: SIGKILL."""
    code = f"""
import os, signal, time
from pathlib import Path
from pydantic import BaseModel
from paddock_runtime.record import open_record
class Note(BaseModel):
    text: str
shelf = open_record(Path({str(tmp_path)!r}), "local").shelf("note", Note)
for number in range(5000):
    shelf.put(f"k{{number}}", Note(text=str(number)))
time.sleep(1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, env={
        "PYTHONPATH": ":".join(sys.path)})
    assert ended.returncode == -9
    with opened(tmp_path) as record:
        assert len(record.shelf("note", Note).items()) == 5000


@pytest.mark.parametrize(("spoil", "word"), [
    (lambda path: path.write_bytes(b"no database at all" * 1000), "damaged"),
    (lambda path: path.write_bytes(path.read_bytes()[:8192] + b"\0" * 20_000), "damaged"),
    (lambda path: _set_version(path, 99), "another version"),
])
def test_a_file_that_can_not_be_used_is_moved_aside_and_said(
        tmp_path: Path, spoil: object, word: str, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as record:
        shelf = record.shelf("note", Note)
        for number in range(500):
            shelf.put(f"k{number}", Note(text="x" * 100))
    assert callable(spoil)
    spoil(tmp_path / "local.sqlite3")
    with caplog.at_level(logging.ERROR), opened(tmp_path) as record:
        shelf = record.shelf("note", Note)
        assert shelf.items() == []
        shelf.put("new", Note(text="life"))
    assert word in caplog.text
    assert (tmp_path / "local.sqlite3.aside").exists()
    with opened(tmp_path) as record:
        assert record.shelf("note", Note).items() == [("new", Note(text="life"))]


def _set_version(path: Path, number: int) -> None:
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version={number}")
    database.close()


async def test_a_second_process_has_none_and_disturbs_nothing(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as first, opened(tmp_path) as second, opened(tmp_path, "pod-1") as other:
        assert "another process keeps its own" in caplog.text
        second.shelf("note", Note).put("a", Note(text="lost"))
        with pytest.raises(NoRecord, match="cache of its own"):
            await second.read(tables.usage)
        first.shelf("note", Note).put("a", Note(text="kept"))
        other.shelf("note", Note).put("a", Note(text="of the other pod"))
        assert await first.read(tables.usage) == []
    with opened(tmp_path) as record, opened(tmp_path, "pod-1") as other:
        assert record.shelf("note", Note).items() == [("a", Note(text="kept"))]
        assert other.shelf("note", Note).items() == [("a", Note(text="of the other pod"))]


def test_a_folder_that_can_not_be_written_is_no_reason_not_to_serve(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with opened(tmp_path / "file") as record:
        record.shelf("note", Note).put("a", Note(text="in memory"))
    assert "keeps no record" in caplog.text


async def test_a_write_that_is_refused_is_tried_again_and_counts_once(tmp_path: Path) -> None:
    """As by a full disk."""
    left, hour = [1], int(time.time() // 3600)

    def refused_once(database: sqlite3.Connection) -> None:
        tables.use(database, [tables.Hour(GEMMA, hour, 1)], [])
        if left and left.pop():
            raise sqlite3.OperationalError("database or disk is full")

    with opened(tmp_path) as record:
        record.write(None, refused_once)
        await record.read(tables.usage)
        record.close()
    with opened(tmp_path) as record:
        assert await record.read(tables.usage) == [(GEMMA, hour, 1)]
