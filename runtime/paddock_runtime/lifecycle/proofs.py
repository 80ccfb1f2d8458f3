"""Which revisions passed their checks: proven stays proven, for the same file, context, checks and template."""

from __future__ import annotations

from collections import OrderedDict

from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.targets import Target


class Proofs:
    """The least recently asked for are forgotten first, and verified once more when they load again."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._known: OrderedDict[str, None] = OrderedDict()

    def holds(self, model: Model, target: Target) -> bool:
        """Whether `target` needs no verification (any more)."""
        if not target.revision.spec.verify:
            return True
        proof = _proof(target)
        if proof in self._known:
            self._known.move_to_end(proof)
            return True
        return _served_before(model, target)

    def add(self, target: Target) -> None:
        self._known[_proof(target)] = None
        while len(self._known) > self._entries:
            self._known.popitem(last=False)


def _proof(target: Target) -> str:
    return f"{target.context}/{target.checks_key}"


def _served_before(model: Model, target: Target) -> bool:
    """The operator calls last_good what a pod served: there it passed. Without a digest the file may be another now."""
    good = model.entry.last_good
    return good is not None and good.id == target.revision.id and good.resolution.sha256 is not None
