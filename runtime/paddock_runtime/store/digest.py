"""The sha256 of a file, computed beside the event loop, in blocks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store.artifact import Identity, identity_of, unreadable
from paddock_runtime.store.threads import in_thread

BLOCK_BYTES = 4 << 20
# Two writes within one tick of the kernel's file clock (at most 10 ms) may leave the same time stamps.
_CLOCK_TICK_NS = 20_000_000
_ATTEMPTS = 3

Report = Callable[[float | None], None]


async def digest_of(path: Path, report: Report) -> tuple[str, Identity]:
    """Hash a file that somebody may be writing; `report` gets the fraction done.

    Raises PaddockError: SOURCE_NOT_FOUND, SOURCE_REFUSED (not a plain file), SOURCE_UNAVAILABLE (unreadable, or it
    changed during each of three readings).
    """
    for _ in range(_ATTEMPTS):
        before = await in_thread(identity_of, path)
        await _settle(before)
        try:
            sha256 = await _hash(path, before.size, report)
        except OSError as error:
            raise unreadable(path, error) from error
        if await in_thread(identity_of, path) == before:
            return sha256, before
    raise PaddockError(Code.SOURCE_UNAVAILABLE,
                       f"{path} changes while it is read; write it elsewhere and rename it into place when it is whole",
                       param="source.file.path")


async def feed(hasher: hashlib._Hash, descriptor: int, length: int, report: Report) -> int:
    """Hash `length` bytes from the descriptor's position; returns how many there were. Raises OSError."""

    def block(limit: int) -> int:
        data = os.read(descriptor, limit)
        hasher.update(data)
        return len(data)

    done = 0
    while done < length:
        count = await in_thread(block, min(BLOCK_BYTES, length - done))
        if count == 0:
            break
        done += count
        report(done / length)
    return done


async def _hash(path: Path, size: int, report: Report) -> str:
    opened: list[int] = []

    def open_it() -> int:
        # NONBLOCK: should the path have become a named pipe, opening it must not hang.
        opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK))
        return opened[0]

    try:
        descriptor = await in_thread(open_it)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""  # swapped since it was looked at: the identity tells
        hasher = hashlib.sha256()
        await feed(hasher, descriptor, size, report)
        return hasher.hexdigest()
    finally:
        for each in opened:  # also when we were cancelled while it was being opened
            os.close(each)


async def _settle(identity: Identity) -> None:
    age = time.time_ns() - identity.ctime_ns
    if 0 <= age < _CLOCK_TICK_NS:
        await asyncio.sleep((_CLOCK_TICK_NS - age) / 1e9)
