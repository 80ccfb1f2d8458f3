"""Memory and CPU of one process and of what is around it, while something happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench import procs

_EVERY = 0.2


@dataclass
class Usage:
    """Bytes, `idle_pss` before it began; CPU seconds of the operator, of the API server with etcd, of this process
    (client, files and pods), and of everybody else on the machine."""

    idle_pss: int = 0
    peak_pss: int = 0
    peak_rss: int = 0
    cpu: float = 0.0
    servers: float = 0.0
    client: float = 0.0
    others: float = 0.0


@contextlib.asynccontextmanager
async def sampled(pid: int) -> AsyncIterator[Usage]:
    """What is used from here to the end of the block. `peak_rss` is that of the process's whole life."""
    idle = procs.pss_bytes([pid])
    usage = Usage(idle_pss=idle, peak_pss=idle)
    before = _seconds(pid)
    sampler = asyncio.create_task(_sample(pid, usage))
    try:
        yield usage
    finally:
        sampler.cancel()
        await asyncio.wait({sampler})
        usage.cpu, usage.servers, usage.client, usage.others = (
            now - then for now, then in zip(_seconds(pid), before, strict=True))
        usage.peak_pss = max(usage.peak_pss, procs.pss_bytes([pid]))
        usage.peak_rss = _peak_rss(pid)


async def _sample(pid: int, usage: Usage) -> None:
    while True:
        usage.peak_pss = max(usage.peak_pss, procs.pss_bytes([pid]))
        await asyncio.sleep(_EVERY)


def _seconds(pid: int) -> tuple[float, float, float, float]:
    own = os.times()
    client = own.user + own.system
    family = procs.tree([os.getpid()]) - {os.getpid(), pid}
    operator, servers = procs.cpu_seconds([pid]), procs.cpu_seconds(family)
    return operator, servers, client, procs.machine_busy_seconds() - operator - servers - client


def _peak_rss(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmHWM:"))
