"""The file store: whatever a source names becomes a verified file on this machine, or an error that says why not."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from paddock_api.errors import Code, PaddockError
from paddock_api.source import FileSource, HttpSource, Source
from paddock_runtime.store.addresses import check_url
from paddock_runtime.store.artifact import Artifact, Identity, check_unchanged, identity_of
from paddock_runtime.store.connect import Connector, Resolve, resolve
from paddock_runtime.store.digest import Report, digest_of
from paddock_runtime.store.download import Download, Wanted
from paddock_runtime.store.flights import Flights
from paddock_runtime.store.index import DigestIndex
from paddock_runtime.store.local import locate
from paddock_runtime.store.locks import exclusive
from paddock_runtime.store.partial import Partial
from paddock_runtime.store.retries import Retries, RetryPolicy
from paddock_runtime.store.space import DiskSpace, write_error
from paddock_runtime.store.threads import in_thread

_log = logging.getLogger(__name__)


class FileStore:
    """Many processes may share one `root`; within a process, one event loop may use it.

    `reserve_bytes` of the disk stay free. `allow_hosts` (`host` or `host:port`) may have private addresses.
    `volumes` are the roots of the pool's volumes by name. `lock_seconds` is how long another process that fetches the
    same file may show no progress. Raises OSError when `root` can't be made.
    """

    def __init__(
        self, root: Path, *, reserve_bytes: int = 256 << 20, allow_hosts: frozenset[str] = frozenset(),
        volumes: Mapping[str, Path] | None = None, retries: RetryPolicy | None = None, lock_seconds: float = 600.0,
        resolve: Resolve = resolve,
    ) -> None:
        self._root = Path(os.path.realpath(root))
        for name in ("blobs", "partial", "locks", "index"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        self._volumes = dict(volumes or {})
        self._index = DigestIndex(self._root / "index")
        self._space = DiskSpace(self._root, reserve_bytes)
        self._connector = Connector(allow_hosts, resolve=resolve)
        self._policy = retries or RetryPolicy()
        self._lock_seconds = lock_seconds
        self._flights = Flights()
        self._reading = asyncio.Semaphore(1)  # one file at a time: disks and cores have other work

    def present(self, source: Source, files: Sequence[str] = ()) -> Artifact | None:
        """The source's file if it is here and known to be verified: a few `stat` calls. None when `ensure` has work."""
        try:
            path, sha256 = self._place(source, files)
            identity = identity_of(path)
        except PaddockError:
            return None
        known = self._index.lookup(path, identity)
        if known is None or (sha256 is not None and known != sha256):
            return None
        return _artifact(known, path, identity)

    async def ensure(
        self, source: Source, *, files: Sequence[str] = (), size: int | None = None, progress: Report
    ) -> Artifact:
        """Fetch what is missing, verify what is not verified. `progress` gets the fraction done, None while unknown.

        Callers that want the same file share one flight; it is given up when the last of them is cancelled, and goes
        on from there next time. `size`: what a resolution says of the file. Raises PaddockError.
        """
        path, sha256 = await in_thread(self._place, source, files)
        if source.http is not None:
            wanted = Wanted(url=check_url(source.http.url), sha256=source.http.sha256, size=size)
            artifact = await self._flights.join(str(path), lambda report: self._fetched(wanted, path, report), progress)
        else:
            artifact = await self._flights.join(str(path), lambda report: self._read(path, report), progress)
        _check(artifact, sha256, size)
        return artifact

    def verify(self, artifact: Artifact) -> None:
        """Before every load: the files are there, as long as they were and untouched. Only `stat`, no reading.

        Raises PaddockError SOURCE_NOT_FOUND, SIZE_MISMATCH or CHECKSUM_MISMATCH; `ensure` then reads them again.
        """
        check_unchanged(artifact)

    def _place(self, source: Source, files: Sequence[str]) -> tuple[Path, str | None]:
        if isinstance(source.http, HttpSource):
            return self._root / "blobs" / source.http.sha256, source.http.sha256
        if isinstance(source.file, FileSource):
            return locate(source.file, files, self._volumes), source.file.sha256
        raise PaddockError(Code.UNSUPPORTED, "this version fetches from source.file and source.http only",
                           param="source")

    async def _read(self, path: Path, report: Report) -> Artifact:
        """A file in place: read it, unless it was read as it is now."""
        identity = await in_thread(identity_of, path)
        known = await in_thread(self._index.lookup, path, identity)
        if known is None:
            async with self._reading:
                known, identity = await digest_of(path, report)
            await in_thread(self._remember, path, identity, known)
        return _artifact(known, path, identity)

    async def _fetched(self, wanted: Wanted, blob: Path, report: Report) -> Artifact:
        partial_path = self._root / "partial" / wanted.sha256
        try:
            async with exclusive(self._root / "locks" / wanted.sha256, patience=self._lock_seconds,
                                 sign_of_life=lambda: _length(partial_path)):
                sound = await self._sound(wanted.sha256, blob, report)
                return sound or await self._fetch(wanted, blob, partial_path, report)
        except OSError as error:
            raise write_error(self._root, error) from error

    async def _sound(self, sha256: str, blob: Path, report: Report) -> Artifact | None:
        """The blob, if there is one and it is whole. One that is not is taken away."""
        if not await in_thread(os.path.lexists, blob):
            return None
        artifact = await self._read(blob, report)
        if artifact.sha256 == sha256:
            return artifact
        _log.warning("the stored file was damaged and is fetched again", extra={"sha256": sha256})
        # Engines that have it mapped keep what they have: only the name goes.
        await in_thread(blob.unlink)
        await in_thread(self._index.forget, blob)
        return None

    async def _fetch(self, wanted: Wanted, blob: Path, partial_path: Path, report: Report) -> Artifact:
        with Partial(partial_path) as partial:
            async with self._reading:
                await partial.recover(lambda _: report(None))
            await Download(wanted, partial, connector=self._connector, space=self._space, root=self._root,
                           retries=Retries(self._policy, dice=random.random), report=report).run()
            await in_thread(partial.publish, blob)
        identity = await in_thread(identity_of, blob)
        await in_thread(self._remember, blob, identity, wanted.sha256)
        return _artifact(wanted.sha256, blob, identity)

    def _remember(self, path: Path, identity: Identity, sha256: str) -> None:
        try:
            self._index.remember(path, identity, sha256)
        except OSError as error:  # it is known until we end; then it is read again
            _log.warning("the digest index can't be written: %s", error.strerror)


def _artifact(sha256: str, path: Path, identity: Identity) -> Artifact:
    return Artifact(sha256=sha256, size=identity.size, paths=(path,), identity=(identity,))


def _check(artifact: Artifact, sha256: str | None, size: int | None) -> None:
    if sha256 is not None and artifact.sha256 != sha256:
        raise PaddockError(
            Code.CHECKSUM_MISMATCH,
            f"{artifact.paths[0]} has the sha256 {artifact.sha256}, but source.file.sha256 says {sha256}: "
            "put the right file there or correct the digest", param="source.file.sha256")
    if size is not None and artifact.size != size:
        raise PaddockError(Code.SIZE_MISMATCH,
                           f"{artifact.paths[0]} has {artifact.size} bytes, but {size} are expected")


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
