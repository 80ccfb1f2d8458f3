"""Room on the disk of the store: asked before and during every download."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paddock_api.errors import Code, PaddockError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskSpace:
    """`reserve_bytes` stay free for everybody else on that disk. What running downloads still need counts as taken."""

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        self._root = root
        self._reserve = reserve_bytes
        self._claims: dict[str, int] = {}

    @contextmanager
    def claimed(self, digest: str) -> Iterator[None]:
        """Within it `claim` and `used` keep the books of one download."""
        self._claims[digest] = 0
        try:
            yield
        finally:
            del self._claims[digest]

    def claim(self, digest: str, needed: int) -> None:
        """Raises PaddockError DISK_FULL when `needed` more bytes do not fit beside all other claims."""
        others = sum(claim for other, claim in self._claims.items() if other != digest)
        free = self._free()
        if needed + others + self._reserve > free:
            raise PaddockError(
                Code.DISK_FULL,
                f"{_mib(needed)} more are needed for the file, {_mib(free)} are free in {self._root}, of which "
                f"{_mib(others)} are promised to other downloads and {_mib(self._reserve)} stay free: "
                "make room or give the cache a larger disk; what was fetched is kept")
        self._claims[digest] = needed

    def used(self, digest: str, count: int) -> None:
        """`count` bytes of the claim were written. Raises PaddockError DISK_FULL when others took the room."""
        self._claims[digest] = max(0, self._claims[digest] - count)
        free = self._free()
        if free < self._reserve:
            raise PaddockError(
                Code.DISK_FULL,
                f"{_mib(free)} are free in {self._root}, less than the {_mib(self._reserve)} that stay free: make room "
                "or give the cache a larger disk; what was fetched is kept")

    def _free(self) -> int:
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize


def write_error(root: Path, error: OSError) -> PaddockError:
    """What a failed write to the store means."""
    if error.errno in _FULL:
        return PaddockError(Code.DISK_FULL, f"the disk of {root} is full: make room or give the cache a larger disk; "
                                            "what was fetched is kept")
    return PaddockError(Code.SOURCE_UNAVAILABLE,
                        f"can't write to the cache {root}: {error.strerror or error}; "
                        "check its permissions and the disk")


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
