"""Following a folder: by events where there are any, and by looking from time to time in any case."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import watchfiles

from paddock_runtime.config.snapshot import Snapshot

_log = logging.getLogger(__name__)

_DEBOUNCE_MS = 400
_QUIET_MS = 50
# Also without any event the folder is looked at this often: network file systems send none, and a file may be a link
# to one elsewhere.
_LOOK_MS = 1000


async def follow(
    read: Callable[[], Snapshot], folder: Path, changed: Callable[[], bool], *, seen: Snapshot | None
) -> AsyncIterator[Snapshot]:
    """What `read` brings whenever it differs from what was `seen`. `changed` says cheaply whether `read` may bring
    something new. Both block, and are called in a thread."""
    while True:
        snapshot = await asyncio.to_thread(read)
        if snapshot != seen:
            seen = snapshot
            yield snapshot
        while not await asyncio.to_thread(changed):
            try:
                await _event(folder, changed)
                break
            except (OSError, RuntimeError) as error:
                # No folder, or no more inotify watches: looking from time to time does, too.
                _log.debug("the folder can't be watched: %s", error)
                await asyncio.sleep(_LOOK_MS / 1000)


async def _event(folder: Path, changed: Callable[[], bool]) -> None:
    """Until something happened in the folder, or it looks changed. Raises OSError when it can't be watched."""
    watching = watchfiles.awatch(folder, watch_filter=None, debounce=_DEBOUNCE_MS, step=_QUIET_MS,
                                 rust_timeout=_LOOK_MS, yield_on_timeout=True, recursive=False)
    async with aclosing(watching):
        async for events in watching:
            if events:
                return
            if await asyncio.to_thread(changed):
                return
