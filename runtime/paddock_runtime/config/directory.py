"""The directory of manifests that `paddock serve` is given, and every accepted change of it."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from paddock_api.pool import PoolConfig
from paddock_api.pool_settings import PoolSettings
from paddock_runtime.config.assemble import assemble
from paddock_runtime.config.documents import MAX_FILE_BYTES
from paddock_runtime.config.folder import Kind, Mark, Reading, mark_of, read_folder
from paddock_runtime.config.snapshot import NOTHING, Snapshot, make_snapshot
from paddock_runtime.config.watching import follow

_SUFFIXES = (".yaml", ".yml", ".json")


def _is_manifest(name: str) -> bool:
    """Hidden files are editors' and kubelet's own."""
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


_MANIFESTS = Kind("manifests", _is_manifest, max_files=10_000, max_bytes=MAX_FILE_BYTES)


class DirectorySource:
    """Implements ConfigSource. `volumes` are the names that `source.file.volume` may use, `settings` the pool's."""

    def __init__(self, folder: Path, *, volumes: Collection[str] = (), settings: PoolSettings | None = None) -> None:
        self._folder = Path(os.path.abspath(folder))
        self._volumes = frozenset(volumes)
        self._settings = (settings or PoolSettings()).document()
        self._lock = threading.Lock()
        self._mark: Mark | None = None
        self._content: str | None = None
        self._last = make_snapshot(NOTHING)

    def read(self) -> Snapshot:
        """Read the directory now. Blocks (files are read and parsed); never raises for what is in the directory."""
        with self._lock:
            reading = read_folder(self._folder, _MANIFESTS)
            self._mark = reading.mark
            content = reading.digest()
            if content != self._content:
                self._content = content
                self._last = self._judge(reading)
            return self._last

    async def watch(self) -> AsyncIterator[Snapshot]:
        seen = self._last if self._content is not None else None
        async for snapshot in follow(self.read, self._folder, self._changed, seen=seen):
            yield snapshot

    def _changed(self) -> bool:
        return mark_of(self._folder, _MANIFESTS) != self._mark

    def _judge(self, reading: Reading) -> Snapshot:
        assembly = assemble(reading.files, folder=self._folder, volumes=self._volumes)
        errors = [*reading.problems, *assembly.problems]
        current = self._last.config
        if errors:
            return make_snapshot(current, errors, assembly.notices)
        if current.generation == 0 or assembly.entries != current.models:
            current = PoolConfig(generation=current.generation + 1, models=assembly.entries,
                                 settings=self._settings)
        return make_snapshot(current, [], assembly.notices)
