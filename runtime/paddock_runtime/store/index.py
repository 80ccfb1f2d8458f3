"""Which digest each file had when it was last read whole, so that a restart need not read it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

from paddock_runtime.store.artifact import Identity

_MAX_ENTRY_BYTES = 16 << 10


class DigestIndex:
    """One small JSON file per path under `folder`. A lost or damaged entry only costs reading the file again.

    An entry counts only for a file with the very identity it was made for.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[Identity, str]] = {}

    def lookup(self, path: Path, identity: Identity) -> str | None:
        """The sha256 of the file, if it was computed for exactly this identity."""
        entry = self._known.get(path)
        if entry is None or entry[0] != identity:
            entry = self._read(path)
        if entry is None or entry[0] != identity:
            return None
        self._known[path] = entry
        return entry[1]

    def remember(self, path: Path, identity: Identity, sha256: str) -> None:
        """Raises OSError when the entry can't be written; it is known in memory all the same."""
        self._known[path] = (identity, sha256)
        record = {"path": os.fsdecode(path), "identity": list(identity), "sha256": sha256}
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(record, file)
            os.replace(temporary, self._entry(path))
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def forget(self, path: Path) -> None:
        self._known.pop(path, None)
        self._entry(path).unlink(missing_ok=True)

    def _entry(self, path: Path) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"

    def _read(self, path: Path) -> tuple[Identity, str] | None:
        try:
            with open(self._entry(path), "rb") as file:
                record = json.loads(file.read(_MAX_ENTRY_BYTES))
            if record["path"] != os.fsdecode(path) or len(record["sha256"]) != 64:
                return None
            device, inode, size, mtime_ns, ctime_ns = (int(value) for value in record["identity"])
            return Identity(device, inode, size, mtime_ns, ctime_ns), str(record["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
