"""`paddock history`, `diff` and `rollback`: a Model's revisions, wherever they are kept."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from paddock_api.history import ModelHistory, Operation, PastRevision
from paddock_api.identity import ModelId
from paddock_cli.errors import CommandError
from paddock_cli.manifests import dump


class Place(Protocol):
    """Where the revisions are kept. All methods raise CommandError."""

    def history(self, model: ModelId) -> ModelHistory: ...

    def roll_back(self, model: ModelId, target: PastRevision, before: ModelHistory) -> str:
        """Makes `target`'s spec the Model's. Returns what was done, for a person."""
        ...


def show_history(place: Place, model: ModelId, *, operations: int) -> str:
    found = place.history(model)
    lines = _table(["REVISION", "ID", "TIME", "STATE", "CAUSE"], [
        [str(each.number), each.id, _time(each.time), _state(found, each), each.text]
        for each in found.revisions])
    bad = [f"\nrevision {each.number} is bad: {each.bad}" for each in found.revisions if each.bad is not None]
    lines += [line for text in bad for line in text.split("\n")]
    shown = found.operations[len(found.operations) - operations:] if operations < len(found.operations) \
        else found.operations
    if shown:
        numbers = {each.id: str(each.number) for each in found.revisions}
        lines += ["", *_table(["TIME", "OPERATION", "REVISION", "DETAIL"], [
            [_time(each.time), each.what.value, numbers.get(each.revision or "", "-"), _detail(each, numbers)]
            for each in shown])]
    return "\n".join(lines)


def show_diff(place: Place, model: ModelId, first: int | None, second: int | None) -> str:
    """Without numbers: from the one before to the desired one. With one: from that to the desired one."""
    found = place.history(model)
    newest = _desired(found)
    if first is None:
        older = [each for each in found.revisions if each.number < newest.number]
        if not older:
            raise CommandError(f"{model} has one revision only: there is nothing to compare it with")
        old, new = older[-1], newest
    else:
        old, new = numbered(found, first), newest if second is None else numbered(found, second)
    lines = difflib.unified_diff(
        dump(old.spec).splitlines(), dump(new.spec).splitlines(), f"revision {old.number}", f"revision {new.number}",
        lineterm="")
    text = "\n".join(lines)
    if old.commit != new.commit:
        text += ("\n" if text else "") + f"source commit: {old.commit or 'unknown'} → {new.commit or 'unknown'}"
    return text or f"revisions {old.number} and {new.number} have the same spec"


def roll_back(place: Place, model: ModelId, number: int | None) -> str:
    found = place.history(model)
    target = _before(model, found) if number is None else numbered(found, number)
    if target.id == found.desired:
        raise CommandError(f"revision {target.number} is what {model} is at already")
    return place.roll_back(model, target, found)


def numbered(found: ModelHistory, number: int) -> PastRevision:
    """Raises CommandError that names those there are."""
    for each in found.revisions:
        if each.number == number:
            return each
    known = ", ".join(str(each.number) for each in found.revisions) or "none"
    raise CommandError(f"{found.model} has no revision {number} (there are: {known}); see `paddock history`")


def _desired(found: ModelHistory) -> PastRevision:
    if not found.revisions:
        raise CommandError(f"{found.model} has no revisions yet: its first one is made when its source is resolved")
    return next((each for each in found.revisions if each.id == found.desired), found.revisions[-1])


def _before(model: ModelId, found: ModelHistory) -> PastRevision:
    """The newest that was proven and is not bad; if none was proven, the newest that is not bad."""
    others = [each for each in found.revisions if each.id != found.desired and each.bad is None]
    proven = [each for each in others if each.proven is not None]
    if not others:
        raise CommandError(f"{model} has no other good revision to go back to: see `paddock history {model}`")
    return (proven or others)[-1]


def _state(found: ModelHistory, each: PastRevision) -> str:
    words = [word for word, id in (("desired", found.desired), ("active", found.active), ("lastGood", found.last_good))
             if id == each.id]
    return ",".join(words + (["bad"] if each.bad is not None else [])) or "-"


def _detail(each: Operation, numbers: dict[str, str]) -> str:
    named = {"from": lambda value: f"from revision {numbers.get(value, value)}",
             "seconds": lambda value: f"took {value:.1f} s"}
    return ", ".join(named[key](value) if key in named else str(value) for key, value in each.detail.items()) or "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)]


def _time(moment: float) -> str:
    """In this machine's time zone."""
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
