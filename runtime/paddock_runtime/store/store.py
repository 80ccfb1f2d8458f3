"""The file store: whatever a source names becomes verified files on this machine, or an error that says why not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from paddock_api.errors import Code, PaddockError
from paddock_api.source import Source
from paddock_runtime.store.artifact import Artifact, check_unchanged
from paddock_runtime.store.blobs import Blobs
from paddock_runtime.store.connect import Connector, Resolve, resolve
from paddock_runtime.store.credentials import Credentials
from paddock_runtime.store.digest import Report
from paddock_runtime.store.flights import Flights
from paddock_runtime.store.index import DigestIndex
from paddock_runtime.store.places import Local, Remote, local_files, remote_files
from paddock_runtime.store.reader import Reader, Verified
from paddock_runtime.store.retries import RetryPolicy
from paddock_runtime.store.space import DiskSpace
from paddock_runtime.store.threads import in_thread


class FileStore:
    """Many processes may share one `root`; within a process, one event loop may use it.

    `reserve_bytes` of the disk stay free, and fetched files take at most `budget_bytes`. `allow_hosts` (`host` or
    `host:port`) may have private addresses. `volumes` are the roots of the pool's volumes by name; `anywhere`: sources
    may name files outside of them. `lock_seconds` is how long another process that fetches the same file may show no
    progress. Raises OSError when `root` can't be made.
    """

    def __init__(
        self, root: Path, *, reserve_bytes: int = 256 << 20, budget_bytes: int | None = None,
        allow_hosts: frozenset[str] = frozenset(), volumes: Mapping[str, Path] | None = None, anywhere: bool = True,
        credentials: Credentials | None = None, retries: RetryPolicy | None = None, lock_seconds: float = 600.0,
        resolve: Resolve = resolve,
    ) -> None:
        self.root = root = Path(os.path.realpath(root))
        for name in ("blobs", "partial", "locks", "index"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self._volumes, self._anywhere = dict(volumes or {}), anywhere
        self._reader = Reader(DigestIndex(root / "index"))
        self._blobs = Blobs(root, self._reader, connector=Connector(allow_hosts, resolve=resolve),
                            space=DiskSpace(root, reserve_bytes, budget_bytes), policy=retries or RetryPolicy(),
                            credentials=credentials, lock_seconds=lock_seconds)
        self._flights = Flights()

    def present(self, source: Source, files: Sequence[str] = (), sha256s: Sequence[str] = ()) -> Artifact | None:
        """The source's files if they are here and known to be verified: a few `stat` calls. None when `ensure` has
        work."""
        try:
            wanted = [(self._path(place), place.sha256) for place in self._places(source, files, sha256s)]
        except PaddockError:
            return None
        known = [self._reader.known(path) for path, _ in wanted]
        found = [each for each, (_, sha256) in zip(known, wanted, strict=True)
                 if each is not None and sha256 in (None, each.sha256)]
        return _artifact(found) if len(found) == len(wanted) else None

    async def ensure(
        self, source: Source, *, files: Sequence[str] = (), sha256s: Sequence[str] = (), size: int | None = None,
        progress: Report,
    ) -> Artifact:
        """Fetch what is missing, verify what is not verified. `progress` gets the fraction done, None while unknown.

        `files`, `sha256s` and `size` (of all together) are what a resolution says. Callers that want the same file
        share one flight; it is given up when the last of them is cancelled, and goes on from there next time.
        Raises PaddockError.
        """
        places = await in_thread(self._places, source, files, sha256s)
        if size is not None:
            await in_thread(self._blobs.check_room, [place for place in places if isinstance(place, Remote)], size)
        found = []
        for index, place in enumerate(places):
            report = progress if len(places) == 1 else partial(_share, progress, index, len(places))
            found.append(await self._take(place, size if len(places) == 1 else None, report))
        artifact = _artifact(found)
        _check_size(artifact, size)
        return artifact

    def verify(self, artifact: Artifact) -> None:
        """Before every load: the files are there, as long as they were and untouched. Only `stat`, no reading.

        Raises PaddockError SOURCE_NOT_FOUND, SIZE_MISMATCH or CHECKSUM_MISMATCH; `ensure` then reads them again.
        """
        check_unchanged(artifact)

    def _places(self, source: Source, files: Sequence[str], sha256s: Sequence[str]) -> Sequence[Local | Remote]:
        if source.file is not None:
            return local_files(source.file, files, self._volumes, anywhere=self._anywhere)
        return remote_files(source, files, sha256s)

    def _path(self, place: Local | Remote) -> Path:
        return place.path if isinstance(place, Local) else self._blobs.path(place.sha256)

    async def _take(self, place: Local | Remote, size: int | None, report: Report) -> Verified:
        path = self._path(place)
        if isinstance(place, Remote):
            # who names another place, or shows another token, must not hear how this one fared: the lock makes him wait
            key = f"{path}\n{place.url}\n{place.credential}"
            return await self._flights.join(key, lambda told: self._blobs.fetch(place, size, told), report)
        found = await self._flights.join(str(path), lambda told: self._reader.read(path, told), report)
        if place.sha256 is not None and found.sha256 != place.sha256:
            raise PaddockError(
                Code.CHECKSUM_MISMATCH,
                f"{path} has the sha256 {found.sha256}, but source.file.sha256 says {place.sha256}: "
                "put the right file there or correct the digest", param="source.file.sha256")
        return found


def _artifact(found: Sequence[Verified]) -> Artifact:
    return Artifact(sha256s=tuple(each.sha256 for each in found), paths=tuple(each.path for each in found),
                    identity=tuple(each.identity for each in found))


def _share(progress: Report, index: int, count: int, fraction: float | None) -> None:
    """Progress of one file as progress of all, which are taken to be of one size."""
    progress((index + (fraction or 0.0)) / count)


def _check_size(artifact: Artifact, size: int | None) -> None:
    if size is not None and artifact.size != size:
        raise PaddockError(Code.SIZE_MISMATCH,
                           f"{artifact.paths[0]} has {artifact.size} bytes, but {size} are expected")
