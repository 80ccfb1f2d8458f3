"""Habits outlive the process: one JSON file, replaced whole. Whoever has a better place gives another Keeper."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

_MOST = 64 << 20  # bytes; what is larger was not written by us


class Keeper(Protocol):
    """Both are called off the event loop, one at a time."""

    def read(self) -> object:
        """What was written last; None when there is nothing, or nothing that can be used."""
        ...

    def write(self, document: dict[str, Any]) -> None:
        """Raises OSError."""
        ...


class HabitsFile:
    """Implements Keeper. A lost or damaged file costs only what it knew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> object:
        try:
            with self._path.open("rb") as file:
                return json.loads(file.read(_MOST))
        except (OSError, ValueError, RecursionError):
            return None

    def write(self, document: dict[str, Any]) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}-")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(document, file, separators=(",", ":"))
            os.replace(temporary, self._path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
