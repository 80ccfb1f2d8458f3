"""Fetched files under the name of their digest: there only when they are whole."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterable
from functools import partial as bind
from pathlib import Path

from paddock_api.errors import PaddockError
from paddock_runtime.store.artifact import identity_of
from paddock_runtime.store.connect import Connector
from paddock_runtime.store.credentials import Credentials
from paddock_runtime.store.digest import Report
from paddock_runtime.store.download import Download, Wanted
from paddock_runtime.store.locks import exclusive
from paddock_runtime.store.partial import Partial
from paddock_runtime.store.places import Remote
from paddock_runtime.store.reader import Reader, Verified
from paddock_runtime.store.retries import Retries, RetryPolicy
from paddock_runtime.store.space import DiskSpace, write_error
from paddock_runtime.store.threads import in_thread

_log = logging.getLogger(__name__)


class Blobs:
    """`lock_seconds` is how long another process that fetches the same file may show no progress."""

    def __init__(self, root: Path, reader: Reader, *, connector: Connector, space: DiskSpace, policy: RetryPolicy,
                 credentials: Credentials | None, lock_seconds: float) -> None:
        self._root, self._reader, self._connector = root, reader, connector
        self._space, self._policy, self._credentials = space, policy, credentials
        self._lock_seconds = lock_seconds

    def path(self, sha256: str) -> Path:
        return self._root / "blobs" / sha256

    def check_room(self, files: Iterable[Remote], size: int) -> None:
        """Before the first byte of files that have `size` bytes together. Raises PaddockError DISK_FULL."""
        here = sum(max(0, _length(self.path(file.sha256)), _length(self._partial(file.sha256))) for file in files)
        if size > here:
            self._space.check(size - here)

    async def fetch(self, file: Remote, size: int | None, report: Report) -> Verified:
        """The file, fetched unless it is here and whole. `size` when it is known. Raises PaddockError."""
        try:
            async with exclusive(self._root / "locks" / file.sha256, patience=self._lock_seconds,
                                 sign_of_life=lambda: _length(self._partial(file.sha256))):
                return await self._sound(file.sha256, report) or await self._download(file, size, report)
        except OSError as error:
            raise write_error(self._root, error) from error
        except PaddockError as error:
            if error.param is not None and error.param.startswith("source.http") and "http" not in file.param:
                error.param = file.param  # the rules of fetching speak of the field that most sources name
            raise

    def _partial(self, sha256: str) -> Path:
        return self._root / "partial" / sha256

    async def _sound(self, sha256: str, report: Report) -> Verified | None:
        """The blob, if there is one and it is whole. One that is not is taken away."""
        blob = self.path(sha256)
        if not await in_thread(os.path.lexists, blob):
            return None
        found = await self._reader.read(blob, report)
        if found.sha256 == sha256:
            return found
        _log.warning("the stored file was damaged and is fetched again", extra={"data": {"sha256": sha256}})
        # Engines that have it mapped keep what they have: only the name goes.
        await in_thread(blob.unlink)
        await in_thread(self._reader.forget, blob)
        return None

    async def _download(self, file: Remote, size: int | None, report: Report) -> Verified:
        blob = self.path(file.sha256)
        wanted = Wanted(file=file, size=size, token=bind(self._token, file))
        with Partial(self._partial(file.sha256)) as partial:
            async with self._reader.turn:
                await partial.recover(lambda _: report(None))
            await Download(wanted, partial, connector=self._connector, space=self._space, root=self._root,
                           retries=Retries(self._policy, dice=random.random), report=report).run()
            await in_thread(partial.publish, blob)
        found = Verified(file.sha256, blob, await in_thread(identity_of, blob))
        await in_thread(self._reader.remember, found)
        return found

    def _token(self, file: Remote) -> str | None:
        if file.credential is None or self._credentials is None:
            return None
        return self._credentials.token_for(file.credential, file.url)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
