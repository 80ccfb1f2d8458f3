"""Which revisions passed their checks: proven stays proven, for the same file, context, checks and template."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from pathlib import Path

from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.targets import Target

_log = logging.getLogger(__name__)


class Proofs:
    """The least recently asked for are forgotten first, and verified once more when they load again.

    `file` keeps them over a restart, a line each; one that can't be read or written costs a verification, no more."""

    def __init__(self, entries: int, file: Path | None = None) -> None:
        self._entries, self._file = entries, file
        self._known: OrderedDict[str, None] = OrderedDict()
        self._writes: set[asyncio.Task[None]] = set()
        if file is not None:
            self._read(file)

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
        proof = _proof(target)
        self._keep(proof)
        if self._file is not None:
            write = asyncio.create_task(asyncio.to_thread(_append, self._file, [proof]))
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Returns when all is written."""
        await asyncio.gather(*self._writes, return_exceptions=True)

    def _keep(self, proof: str) -> None:
        self._known[proof] = None
        self._known.move_to_end(proof)
        while len(self._known) > self._entries:
            self._known.popitem(last=False)

    def _read(self, file: Path) -> None:
        """Once, before the loop has work; a file that grew over its bound is written anew."""
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            _log.warning("the revisions that were verified can't be read: %s", error)
            lines = []
        for line in lines:
            self._keep(line)
        if len(lines) > 2 * self._entries:
            file.unlink(missing_ok=True)
            _append(file, list(self._known))


def _append(file: Path, proofs: list[str]) -> None:
    try:
        with file.open("a", encoding="utf-8") as lines:
            lines.write("".join(f"{proof}\n" for proof in proofs))
    except OSError as error:
        _log.warning("what was verified can't be kept for the next start: %s", error)


def _proof(target: Target) -> str:
    return f"{target.context}/{target.checks_key}"


def _served_before(model: Model, target: Target) -> bool:
    """The operator calls last_good what a pod served: there it passed. Without a digest the file may be another now."""
    good = model.entry.last_good
    return good is not None and good.id == target.revision.id and good.resolution.sha256 is not None
