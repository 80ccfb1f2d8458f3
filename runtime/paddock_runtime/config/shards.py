"""A pool's configuration as the operator hands it to a pod: shards in one projected volume, taken whole or not at all.

Kubelet swaps all files of the volume at once (`..data`), but may have read the ConfigMaps behind them at different
times: a set that is a mix passes within its next refresh, and until then what is in force stays.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from paddock_api.shards import COUNT, MAX_BYTES, IncompleteSet, file_name, join
from paddock_runtime.config.folder import Kind, Mark, Reading, mark_of, read_folder
from paddock_runtime.config.problem import ConfigProblem
from paddock_runtime.config.snapshot import NOTHING, Snapshot, make_snapshot
from paddock_runtime.config.watching import follow

_INDEXES = {file_name(index): index for index in range(COUNT)}
_SHARDS = Kind("shards", _INDEXES.__contains__, max_files=COUNT, max_bytes=MAX_BYTES)


class ShardSource:
    """Implements ConfigSource. A set may be incomplete for `patience` seconds before that counts as an error: kubelet
    refreshes a volume about once a minute."""

    def __init__(self, folder: Path, *, patience: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = Path(os.path.abspath(folder))
        self._patience, self._clock = patience, clock
        self._lock = threading.Lock()
        self._mark: Mark | None = None
        self._content: str | None = None
        self._incomplete_since: float | None = None
        self._last = make_snapshot(NOTHING)

    def read(self) -> Snapshot:
        with self._lock:
            reading = read_folder(self._folder, _SHARDS)
            self._mark = reading.mark
            content = reading.digest()
            if content != self._content or self._overdue():
                self._content = content
                self._last = self._judge(reading)
            return self._last

    async def watch(self) -> AsyncIterator[Snapshot]:
        seen = self._last if self._content is not None else None
        async for snapshot in follow(self.read, self._folder, self._changed, seen=seen):
            yield snapshot

    def _changed(self) -> bool:
        return mark_of(self._folder, _SHARDS) != self._mark or (self._overdue() and not self._last.errors)

    def _overdue(self) -> bool:
        since = self._incomplete_since
        return since is not None and self._clock() - since >= self._patience

    def _judge(self, reading: Reading) -> Snapshot:
        try:
            config = None if reading.problems else join({_INDEXES[name]: data for name, data in reading.files.items()})
        except IncompleteSet as error:
            return self._incomplete(str(error))
        except ValueError as error:
            config, problems = None, [ConfigProblem("", None, None, str(error))]
        else:
            problems = reading.problems
        self._incomplete_since = None
        return make_snapshot(self._last.config if config is None else config, problems)

    def _incomplete(self, message: str) -> Snapshot:
        if self._incomplete_since is None:
            self._incomplete_since = self._clock()
        if not self._overdue():
            return make_snapshot(self._last.config, self._last.errors)
        return make_snapshot(self._last.config, [ConfigProblem(
            "", None, None, f"{message}, for {self._patience:.0f} s now; see whether the operator runs, and the "
            "ConfigMaps of the pool")])
