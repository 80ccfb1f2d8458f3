"""One writer a digest, over all processes that share a store."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from paddock_api.errors import Code, PaddockError

POLL_SECONDS = 0.1


@asynccontextmanager
async def exclusive(path: Path, *, patience: float, sign_of_life: Callable[[], object]) -> AsyncIterator[None]:
    """Hold the lock file. The kernel lets go of it when its process ends, however it ends.

    `sign_of_life` is asked at each poll; while what it returns changes, the holder is at work. Raises PaddockError
    SOURCE_UNAVAILABLE when the holder showed nothing new for `patience` seconds.
    """
    # Never deleted: two processes could else hold "the" lock on two files of the same name.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _acquire(descriptor, patience, sign_of_life)
        yield
    finally:
        os.close(descriptor)


async def _acquire(descriptor: int, patience: float, sign_of_life: Callable[[], object]) -> None:
    clock = asyncio.get_running_loop().time
    seen, since = sign_of_life(), clock()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        await asyncio.sleep(POLL_SECONDS)
        now = sign_of_life()
        if now != seen:
            seen, since = now, clock()
        elif clock() - since > patience:
            raise PaddockError(
                Code.SOURCE_UNAVAILABLE,
                f"another process has been fetching this file and made no progress for {patience:.0f} s; "
                "if it hangs, end it: this one takes over", retry_after=patience)
