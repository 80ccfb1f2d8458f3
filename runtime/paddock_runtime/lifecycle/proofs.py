"""Which revisions passed their checks: proven stays proven, for the same file, context, checks and template."""

from __future__ import annotations

from pydantic import BaseModel

from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.record import Record


class Proof(BaseModel):
    """That it was given is all there is to know."""


class Proofs:
    """Those that were given longest ago are forgotten first, and verified once more when they load again."""

    def __init__(self, record: Record, entries: int) -> None:
        self._known = record.shelf("proof", Proof, limit=entries)

    def holds(self, model: Model, target: Target) -> bool:
        """Whether `target` needs no verification (any more)."""
        if not target.revision.spec.verify:
            return True
        return self._known.get(_proof(target)) is not None or _served_before(model, target)

    def add(self, target: Target) -> None:
        self._known.put(_proof(target), Proof())


def _proof(target: Target) -> str:
    return f"{target.context}/{target.checks_key}"


def _served_before(model: Model, target: Target) -> bool:
    """The operator calls last_good what a pod served: there it passed. Without a digest the file may be another now."""
    good = model.entry.last_good
    return good is not None and good.id == target.revision.id and good.resolution.sha256 is not None
