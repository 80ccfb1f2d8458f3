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
    """`reserve_bytes` stay free for everybody else on that disk; `budget_bytes` is the most that all files of the store
    may take. What running downloads still need counts as taken."""

    def __init__(self, root: Path, reserve_bytes: int, budget_bytes: int | None = None) -> None:
        self._root = root
        self._reserve = reserve_bytes
        self._budget = budget_bytes
        self._claims: dict[str, int] = {}

    def check(self, needed: int) -> None:
        """Before a download whose size is known: raises PaddockError DISK_FULL when `needed` more bytes do not fit."""
        self._admit(needed, sum(self._claims.values()))

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
        self._admit(needed, sum(claim for other, claim in self._claims.items() if other != digest))
        self._claims[digest] = needed

    def _admit(self, needed: int, others: int) -> None:
        free = self._free()
        if self._budget is not None and needed + others + (taken := self._taken()) > self._budget:
            raise PaddockError(
                Code.DISK_FULL,
                f"{_mib(needed)} more are needed for the file, but of the {_mib(self._budget)} that the cache may take "
                f"{_mib(taken)} are in use and {_mib(others)} promised to other downloads: raise the pool's disk, or "
                "remove Models that are not needed; what was fetched is kept")
        if needed + others + self._reserve > free:
            raise PaddockError(
                Code.DISK_FULL,
                f"{_mib(needed)} more are needed for the file, {_mib(free)} are free in {self._root}, of which "
                f"{_mib(others)} are promised to other downloads and {_mib(self._reserve)} stay free: "
                "make room or give the cache a larger disk; what was fetched is kept")

    def used(self, digest: str, count: int) -> None:
        """`count` bytes of the claim were written. Raises PaddockError DISK_FULL when others took the room."""
        self._claims[digest] = max(0, self._claims[digest] - count)
        free = self._free()
        if free < self._reserve:
            raise PaddockError(
                Code.DISK_FULL,
                f"{_mib(free)} are free in {self._root}, less than the {_mib(self._reserve)} that stay free: make room "
                "or give the cache a larger disk; what was fetched is kept")
        # a download of unannounced length claimed nothing
        if self._budget is not None and not self._claims[digest] and self._taken() > self._budget:
            raise PaddockError(
                Code.DISK_FULL, f"the cache takes more than the {_mib(self._budget)} that it may: raise the pool's "
                "disk, or remove Models that are not needed; what was fetched is kept")

    def _taken(self) -> int:
        return sum(_size(entry) for name in ("blobs", "partial") for entry in _entries(self._root / name))

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


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:  # it was just published or removed
        return 0


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
