"""Waiting for what has to come. The limit is for a broken cluster, not for a slow one."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 240.0


def eventually(holds: Callable[[], object], seen: Callable[[], object] = lambda: "", within: float = PATIENCE) -> None:
    """Until `holds()`. `seen` tells, in the end, what was there instead."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {seen()}"
        time.sleep(0.3)
