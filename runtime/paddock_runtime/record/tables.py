"""What is written to the tables and read from them. Each function runs within a transaction of its caller."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from paddock_api.history import Cause, Done, ModelHistory, Operation, PastRevision, last_good
from paddock_api.revision import Revision

OPERATIONS = 200  # kept of each Model
MODELS = 10_000  # with a history; those whose last revision is the oldest go
USAGE_HOURS = 5 * 7 * 24
FIRSTS = 10_000


class Hour(NamedTuple):
    """`hour` counts from the Unix epoch."""

    model: str
    hour: int
    requests: int


class First(NamedTuple):
    """A request for a Model that nobody had asked for in the minute before. `time` is Unix seconds."""

    model: str
    time: float


def accept(database: sqlite3.Connection, model: str, revision: Revision, moment: float) -> None:
    """`revision` is what is wanted from now on: a new one, the newest again, or an older one, which then gets the next
    number. Old ones beyond the Model's limit go, but never this one nor the one to fall back to."""
    known = database.execute("SELECT id, number FROM revisions WHERE model = ? ORDER BY number", (model,)).fetchall()
    if known and known[-1][0] == revision.id:
        return
    number = known[-1][1] + 1 if known else 1
    before = next((old for found, old in known if found == revision.id), None)
    if before is not None:
        database.execute("UPDATE revisions SET number = ?, time = ?, cause = ?, text = ? WHERE model = ? AND id = ?",
                         (number, moment, Cause.ROLLBACK, f"back to revision {before}", model, revision.id))
        return
    text = "created" if not known else _difference(database, model, known[-1][0], revision)
    database.execute(
        "INSERT INTO revisions (model, id, number, time, cause, text, content) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (model, revision.id, number, moment, Cause.CONFIGURATION, text, revision.model_dump_json()))
    _trim(database, model, revision)


def _difference(database: sqlite3.Connection, model: str, before: str, revision: Revision) -> str:
    content, = database.execute("SELECT content FROM revisions WHERE model = ? AND id = ?", (model, before)).fetchone()
    same = json.loads(content)["spec"] == revision.spec.model_dump(mode="json")
    return "the source changed" if same else "the spec changed"


def _trim(database: sqlite3.Connection, model: str, wanted: Revision) -> None:
    good = database.execute(
        "SELECT id FROM revisions WHERE model = ? AND proven IS NOT NULL AND bad IS NULL ORDER BY number DESC LIMIT 1",
        (model,)).fetchone()
    used = {wanted.id} | ({good[0]} if good else set())
    old = [found for found, in database.execute(
        "SELECT id FROM revisions WHERE model = ? ORDER BY number DESC", (model,)) if found not in used]
    for beyond in old[wanted.spec.revision_history_limit:]:
        database.execute("DELETE FROM revisions WHERE model = ? AND id = ?", (model, beyond))


def mark_bad(database: sqlite3.Connection, model: str, revision: str, why: str | None) -> None:
    """None takes the mark away."""
    database.execute("UPDATE revisions SET bad = ? WHERE model = ? AND id = ?", (why, model, revision))


def mark_proven(database: sqlite3.Connection, model: str, revision: str, moment: float) -> None:
    """When it was loaded for the first time."""
    database.execute("UPDATE revisions SET proven = coalesce(proven, ?) WHERE model = ? AND id = ?",
                     (moment, model, revision))


def operation(database: sqlite3.Connection, model: str, moment: float, what: Done, revision: str | None,
              detail: Mapping[str, Any]) -> None:
    database.execute("INSERT INTO operations (model, time, what, revision, detail) VALUES (?, ?, ?, ?, ?)",
                     (model, moment, what, revision, json.dumps(detail)))
    database.execute(
        "DELETE FROM operations WHERE model = ? AND sequence <= (SELECT sequence FROM operations WHERE model = ? "
        "ORDER BY sequence DESC LIMIT 1 OFFSET ?)", (model, model, OPERATIONS))


def use(database: sqlite3.Connection, counts: Iterable[Hour], firsts: Iterable[First]) -> None:
    database.executemany(
        "INSERT INTO usage (model, hour, count) VALUES (?, ?, ?) "
        "ON CONFLICT (model, hour) DO UPDATE SET count = count + excluded.count", counts)
    database.executemany("INSERT INTO firsts (model, time) VALUES (?, ?)", firsts)
    database.execute("DELETE FROM firsts WHERE sequence <= (SELECT max(sequence) FROM firsts) - ?", (FIRSTS,))


def usage(database: sqlite3.Connection) -> list[Hour]:
    """Requests for each Model in each hour of the last weeks, oldest first."""
    return [Hour(*row) for row in database.execute("SELECT model, hour, count FROM usage ORDER BY hour, model")]


def firsts(database: sqlite3.Connection) -> list[First]:
    """Oldest first."""
    return [First(*row) for row in database.execute("SELECT model, time FROM firsts ORDER BY sequence")]


def forget_old_usage(database: sqlite3.Connection, hour: int) -> None:
    database.execute("DELETE FROM usage WHERE hour < ?", (hour - USAGE_HOURS,))


def documents(database: sqlite3.Connection) -> dict[str, list[tuple[str, str]]]:
    """All of them by kind, as (key, content), oldest first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, key, content in database.execute("SELECT kind, key, content FROM documents ORDER BY time"):
        found.setdefault(kind, []).append((key, content))
    return found


def history(database: sqlite3.Connection, model: str, desired: str | None) -> ModelHistory:
    """All that is recorded of one Model; `desired` is the id of what is wanted now."""
    revisions = [_past(*row) for row in database.execute(
        "SELECT number, id, time, cause, text, bad, proven, content FROM revisions WHERE model = ? ORDER BY number",
        (model,))]
    operations = [Operation(time=moment, what=what, revision=revision, detail=json.loads(detail))
                  for moment, what, revision, detail in database.execute(
                      "SELECT time, what, revision, detail FROM operations WHERE model = ? ORDER BY sequence",
                      (model,))]
    return ModelHistory(model=model, desired=desired, last_good=last_good(revisions, desired), revisions=revisions,
                        operations=operations)


def _past(number: int, id: str, moment: float, cause: str, text: str, bad: str | None, proven: float | None,
          content: str) -> PastRevision:
    document = json.loads(content)
    return PastRevision(number=number, id=id, time=moment, cause=cause, text=text, bad=bad, proven=proven,
                        spec=document["spec"], commit=document["resolution"].get("commit"))


class Marks(NamedTuple):
    """What the marks on all revisions say at the start: (model, id) → why it is bad; and by Model the newest proven
    one that is not bad, as JSON."""

    bad: dict[tuple[str, str], str]
    good: dict[str, str]


def marks(database: sqlite3.Connection) -> Marks:
    bad = {(model, id): why for model, id, why in database.execute(
        "SELECT model, id, bad FROM revisions WHERE bad IS NOT NULL")}
    good = dict(database.execute(
        "SELECT model, content FROM revisions WHERE proven IS NOT NULL AND bad IS NULL ORDER BY number"))
    return Marks(bad, good)


def prune(database: sqlite3.Connection) -> None:
    """At the start: what is too old, and the Models beyond the bound."""
    forget_old_usage(database, int(time.time() // 3600))
    beyond = database.execute("SELECT model FROM revisions GROUP BY model ORDER BY max(time) DESC LIMIT -1 OFFSET ?",
                              (MODELS,)).fetchall()
    for table in ("revisions", "operations", "usage"):
        database.executemany(f"DELETE FROM {table} WHERE model = ?", beyond)  # noqa: S608  a constant's name
