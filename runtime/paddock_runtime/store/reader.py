"""Digests of files on this machine, each computed once for as long as the file stays what it is."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import NamedTuple

from paddock_api.errors import PaddockError
from paddock_runtime.store.artifact import Identity, identity_of
from paddock_runtime.store.digest import Report, digest_of
from paddock_runtime.store.index import DigestIndex
from paddock_runtime.store.threads import in_thread

_log = logging.getLogger(__name__)


class Verified(NamedTuple):
    """A file as it was when its digest was computed."""

    sha256: str
    path: Path
    identity: Identity


class Reader:
    """`turn` is held while a file is read whole: one at a time, disks and cores have other work."""

    def __init__(self, index: DigestIndex) -> None:
        self._index = index
        self.turn = asyncio.Semaphore(1)

    def known(self, path: Path) -> Verified | None:
        """By a `stat` call and memory alone; None when it would have to be read, or is not there."""
        try:
            identity = identity_of(path)
        except PaddockError:
            return None
        sha256 = self._index.lookup(path, identity)
        return None if sha256 is None else Verified(sha256, path, identity)

    async def read(self, path: Path, report: Report) -> Verified:
        """Reads the file, unless it was read as it is now. Raises PaddockError."""
        identity = await in_thread(identity_of, path)
        sha256 = await in_thread(self._index.lookup, path, identity)
        if sha256 is None:
            async with self.turn:
                sha256, identity = await digest_of(path, report)
            await in_thread(self.remember, Verified(sha256, path, identity))
        return Verified(sha256, path, identity)

    def remember(self, found: Verified) -> None:
        try:
            self._index.remember(found.path, found.identity, found.sha256)
        except OSError as error:  # it is known until we end; then it is read again
            _log.warning("the digest index can't be written: %s", error.strerror)

    def forget(self, path: Path) -> None:
        self._index.forget(path)
