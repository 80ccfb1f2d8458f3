"""Whether a local file is still the one that failed: by what `stat` says, which costs nothing."""

from __future__ import annotations

import os

from paddock_runtime.lifecycle.targets import Target


def signature_of(target: Target) -> tuple[int, ...] | None:
    """None for a file that is not there, or of which only the store knows where it is."""
    source = target.revision.spec.source.file
    files = target.revision.resolution.files
    if source is None or (source.volume is not None and not files):
        return None
    try:
        found = os.stat(files[0] if files else source.path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
