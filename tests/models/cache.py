"""Test models on disk: built once for each recipe, found again by every later session and clone."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent


def root() -> Path:
    """The cache folder: `$XDG_CACHE_HOME/paddock/test-models`, or below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "paddock" / "test-models"


def recipe(*modules: str, extra: str = "") -> str:
    """A short hash of the builder's own source: a changed builder makes a new file."""
    digest = hashlib.sha256(extra.encode())
    for module in sorted(modules):
        digest.update((HERE / module).read_bytes())
    return digest.hexdigest()[:16]


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The file `name` of recipe `key`; `build(path)` writes it if nobody did before.

    Safe for parallel sessions: one builds, the others wait; a file is visible only when whole.
    """
    target = root() / f"{name}-{key}.gguf"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build(target, build)
    return target


def _build(target: Path, build: Callable[[Path], None]) -> None:
    partial = target.parent / f".{target.name}.partial"
    partial.unlink(missing_ok=True)
    try:
        build(partial)
        partial.chmod(0o444)  # a test that writes into a shared model would spoil it for all others
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
