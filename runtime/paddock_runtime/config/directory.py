"""The directory of manifests that `paddock serve` is given, and every accepted change of it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import watchfiles

from paddock_api.pool import PoolConfig, config_hash
from paddock_runtime.config.assemble import assemble
from paddock_runtime.config.folder import Mark, Reading, mark_of, read_folder
from paddock_runtime.config.problem import ConfigProblem

_log = logging.getLogger(__name__)

_DEBOUNCE_MS = 400
_QUIET_MS = 50
# Also without any event the directory is looked at this often: network file systems send none, and a manifest may be
# a link to a file elsewhere.
_LOOK_MS = 1000


@dataclass(frozen=True)
class Snapshot:
    """`config` is what is in force: when there are `errors`, the last one that had none (generation 0: there was none).

    `hash` is of `config`. `notices` name documents that were passed over.
    """

    config: PoolConfig
    hash: str
    errors: tuple[ConfigProblem, ...] = ()
    notices: tuple[ConfigProblem, ...] = ()

    @property
    def error(self) -> str | None:
        """All errors as one text, for `/state`."""
        return "\n".join(map(str, self.errors)) or None


class DirectorySource:
    """`volumes` are the names that `source.file.volume` may use."""

    def __init__(self, folder: Path, *, volumes: Collection[str] = ()) -> None:
        self._folder = Path(os.path.abspath(folder))
        self._volumes = frozenset(volumes)
        self._lock = threading.Lock()
        self._mark: Mark | None = None
        self._content: str | None = None
        self._last = _snapshot(PoolConfig(generation=0, models={}))

    def read(self) -> Snapshot:
        """Read the directory now. Blocks (files are read and parsed); never raises for what is in the directory."""
        with self._lock:
            reading = read_folder(self._folder)
            self._mark = reading.mark
            content = _digest(reading)
            if content != self._content:
                self._content = content
                self._last = self._judge(reading)
            return self._last

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Each snapshot that differs from the last (of `read`, or from here); at once if there was none."""
        seen = self._last if self._content is not None else None
        while True:
            snapshot = await asyncio.to_thread(self.read)
            if snapshot != seen:
                seen = snapshot
                yield snapshot
            await self._changed()

    def _judge(self, reading: Reading) -> Snapshot:
        assembly = assemble(reading.files, folder=self._folder, volumes=self._volumes)
        errors = [*reading.problems, *assembly.problems]
        current = self._last.config
        if errors:
            return _snapshot(current, errors, assembly.notices)
        if current.generation == 0 or assembly.entries != current.models:
            current = PoolConfig(generation=current.generation + 1, models=assembly.entries)
        return _snapshot(current, [], assembly.notices)

    async def _changed(self) -> None:
        """Returns when the directory may not be what was read any more."""
        while await asyncio.to_thread(mark_of, self._folder) == self._mark:
            try:
                await self._event()
                return
            except (OSError, RuntimeError) as error:
                # No directory, or no more inotify watches: looking from time to time does, too.
                _log.debug("the manifest directory can't be watched: %s", error)
                await asyncio.sleep(_LOOK_MS / 1000)

    async def _event(self) -> None:
        """Until something happened in the directory, or it looks changed. Raises OSError when it can't be watched."""
        watching = watchfiles.awatch(self._folder, watch_filter=None, debounce=_DEBOUNCE_MS, step=_QUIET_MS,
                                     rust_timeout=_LOOK_MS, yield_on_timeout=True, recursive=False)
        async with aclosing(watching):
            async for changes in watching:
                if changes or await asyncio.to_thread(mark_of, self._folder) != self._mark:
                    return


def _snapshot(
    config: PoolConfig, errors: Collection[ConfigProblem] = (), notices: Collection[ConfigProblem] = ()
) -> Snapshot:
    return Snapshot(config=config, hash=config_hash(config), errors=tuple(errors), notices=tuple(notices))


def _digest(reading: Reading) -> str:
    hasher = hashlib.sha256()
    for name, data in sorted(reading.files.items()):
        hasher.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
    for problem in reading.problems:
        hasher.update(str(problem).encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()
