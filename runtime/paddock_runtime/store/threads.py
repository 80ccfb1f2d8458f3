"""Blocking file work off the event loop, without leaving a thread behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Like `asyncio.to_thread`, but a cancelled caller first waits for the thread to end.

    So whoever is cancelled may close the files that the thread used: their numbers can't go to other files meanwhile.
    Keep each call short (one block): cancellation takes as long as the call.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise
