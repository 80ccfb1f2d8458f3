"""Files that are used where they lie: on a volume of the pool, or anywhere on this machine when standalone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from paddock_api.errors import Code, PaddockError
from paddock_api.paths import safe_relative

_PARAM = "source.file.path"


def locate(volume: str | None, path: str, volumes: Mapping[str, Path]) -> Path:
    """The real path of a file: relative in a volume of the pool, or absolute on this machine; it need not exist.

    Raises PaddockError SOURCE_NOT_FOUND, SOURCE_REFUSED, SOURCE_UNAVAILABLE.
    """
    if volume is not None:
        return _in_volume(volume, path, volumes)
    if "\0" in path or not os.path.isabs(path):
        raise PaddockError(Code.SOURCE_REFUSED, f"source.file.path {path!r} is not an absolute path on this machine",
                           param=_PARAM)
    return Path(_real(Path(path)))


def _in_volume(volume: str, path: str, volumes: Mapping[str, Path]) -> Path:
    root = volumes.get(volume)
    if root is None:
        raise PaddockError(Code.SOURCE_REFUSED,
                           f"source.file.volume {volume!r} is not a volume of this pool; it has: "
                           f"{', '.join(sorted(volumes)) or 'none'}", param="source.file.volume")
    try:
        relative = safe_relative(path)
    except ValueError as error:
        raise PaddockError(Code.SOURCE_REFUSED, f"source.file.path is refused: {error}", param=_PARAM) from None
    real_root = _real(root)
    if not real_root.is_dir():
        raise PaddockError(Code.SOURCE_UNAVAILABLE, f"the volume {volume!r} is not mounted at {root}",
                           param="source.file.volume")
    found = _real(real_root / relative)
    if not found.is_relative_to(real_root):
        raise PaddockError(Code.SOURCE_REFUSED,
                           f"source.file.path {path!r} leads out of the volume {volume!r} by a symbolic link",
                           param=_PARAM)
    return found


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except OSError as error:  # a loop of links
        raise PaddockError(Code.SOURCE_REFUSED, f"{path} can't be resolved: {error.strerror}", param=_PARAM) from error
