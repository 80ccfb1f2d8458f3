"""How large a Model is, from its file's header: the charge that a load would pay. Reads files, never the network."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock_api.errors import PaddockError
from paddock_api.fields import parse_duration
from paddock_api.model import LoadingPolicy
from paddock_api.pool import PoolEntry
from paddock_api.source import Source
from paddock_runtime.engine.types import EngineType
from paddock_runtime.lifecycle.resolved import digests
from paddock_runtime.lifecycle.targets import prepared
from paddock_runtime.replay import Candidate
from paddock_runtime.store import Artifact, FileStore
from paddock_runtime.store.artifact import identity_of
from paddock_runtime.store.places import local_files

# Measured with warm files on two cores: from exec to the child's first word, and how fast weights are then mapped,
# checked and repacked. A disk that is slower sets the pace instead.
START_SECONDS = 1.0
LOAD_BYTES_PER_SECOND = 560e6
_SAMPLE_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Sized:
    """Bytes and seconds. `weights_bytes` holds the child's own overhead, `adapter_bytes` what adapters add to the
    context. `candidate` is the same for the scheduler."""

    weights_bytes: int
    cache_bytes: int
    compute_bytes: int
    adapter_bytes: int
    file_bytes: int
    cold_seconds: float
    architecture: str
    quantization: str | None
    candidate: Candidate

    @property
    def total_bytes(self) -> int:
        return self.candidate.bytes


@dataclass(frozen=True)
class Unsized:
    """Why it can't be said how large a Model is."""

    reason: str


def size_up(entry: PoolEntry, engine_type: EngineType, store: FileStore | None) -> Sized | Unsized:
    """`store` knows what was fetched before; None: nothing was. Blocks: reads headers, and a sample of each file."""
    revision = entry.desired
    try:
        weights = _found(revision.spec.source, revision.resolution.files, digests(revision), store)
        adapters = [_found(adapter.source, (), (), store) for adapter in revision.spec.engine.adapters]
        if weights is None:
            return Unsized("not fetched yet: its size can't be known without the network")
        here = [adapter for adapter in adapters if adapter is not None]
        if len(here) < len(adapters):
            return Unsized("an adapter is not fetched yet: its size can't be known without the network")
        ready, examined = prepared(entry.id, revision, engine_type, [weights, *here])
    except PaddockError as error:
        return Unsized(error.message)
    charge, loading = ready.charge, revision.spec.loading
    cold = START_SECONDS + weights.size / min(LOAD_BYTES_PER_SECOND, read_rate(weights.paths[0]))
    kept = loading.policy is not LoadingPolicy.ON_DEMAND
    candidate = Candidate(
        key=ready.context, weights=ready.weights,
        weights_bytes=charge.weights_bytes, context_bytes=charge.context_bytes, load_seconds=cold,
        parallel=revision.spec.engine.parallel or 16, priority=loading.priority,
        min_residency=parse_duration(loading.min_residency), idle_timeout=parse_duration(loading.idle_timeout),
        pinned=loading.policy is LoadingPolicy.PINNED, kept=kept)
    return Sized(
        weights_bytes=charge.weights_bytes, cache_bytes=examined.cache_bytes, compute_bytes=examined.compute_bytes,
        adapter_bytes=charge.context_bytes - examined.cache_bytes - examined.compute_bytes, file_bytes=weights.size,
        cold_seconds=cold, architecture=examined.architecture, quantization=examined.quantization, candidate=candidate)


def read_rate(path: Path) -> float:
    """Bytes a second that a part of the file was read with just now: from the disk, or from memory if it is cached."""
    with path.open("rb", buffering=0) as file:
        file.seek(max(0, path.stat().st_size // 2 - _SAMPLE_BYTES // 2))
        started, done = time.perf_counter(), 0
        while done < _SAMPLE_BYTES and (block := file.read(1 << 20)):
            done += len(block)
        return done / max(1e-6, time.perf_counter() - started)


def _found(source: Source, files: Sequence[str], sha256s: Sequence[str], store: FileStore | None) -> Artifact | None:
    """The files if they are here; None for what would have to be fetched. Raises PaddockError."""
    if source.file is None:
        return None if store is None else store.present(source, files, sha256s)
    known = None if store is None else store.present(source, files, sha256s)
    return known or _unread([place.path for place in local_files(source.file, files, {}, anywhere=True)])


def _unread(paths: Sequence[Path]) -> Artifact:
    """Files that nobody has read whole: they go by their paths, so that a plan need not read them either."""
    names = tuple(hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest() for path in paths)
    return Artifact(sha256s=names, paths=tuple(paths), identity=tuple(identity_of(path) for path in paths))
