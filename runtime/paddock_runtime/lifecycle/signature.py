"""Whether a local file is still the one that failed: by what `stat` says, which costs nothing."""

from __future__ import annotations

import os

from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.store.places import siblings


def signature_of(target: Target) -> tuple[tuple[int, ...] | None, ...] | None:
    """Of each of its shards, None for one that is not there. None for a file of which only the store knows where it
    is."""
    source = target.revision.spec.source.file
    files = target.revision.resolution.files
    if source is None or (source.volume is not None and not files):
        return None
    first = files[0] if files else source.path
    return tuple(_seen(name) for name in (files if len(files) > 1 else siblings(first)))


def _seen(name: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
