"""Memory of processes as the kernel counts it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_PAGE = resource.getpagesize()
_DRIFT = 4 << 20  # bytes of resident size that may come or go before the pages are walked again
_STALE = 20.0  # seconds; so old, a measurement is repeated anyway: other processes may map the same file now


def pss_bytes(pid: int, *, proc: Path = PROC) -> int | None:
    """Proportional set size: pages shared by n processes count 1/n in each, so that sums are true.

    None when the process is gone. Takes milliseconds for large maps: call it off the event loop.
    """
    try:
        text = (proc / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None


def resident_bytes(pid: int, *, proc: Path = PROC) -> int | None:
    """Resident set size, shared pages counted whole. Costs nothing. None when the process is gone."""
    try:
        return int((proc / str(pid) / "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return None


@dataclass
class _Measured:
    pss: int
    resident: int
    at: float


class Meter:
    """PSS of processes, watched each second: the kernel walks all pages for it, milliseconds that decode threads on
    the same cores lack, so it is asked again only when the resident size moved, or the set of processes, or after
    a while. Growth in between counts at once."""

    def __init__(self, *, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._clock = clock
        self._known: dict[int, _Measured] = {}

    def __call__(self, pids: Iterable[int]) -> dict[int, int]:
        """PSS of each process that still lives."""
        wanted = list(pids)
        if set(wanted) != self._known.keys():
            self._known.clear()
        sizes = {pid: self._size(pid) for pid in wanted}
        return {pid: size for pid, size in sizes.items() if size is not None}

    def _size(self, pid: int) -> int | None:
        now = self._clock()
        resident = resident_bytes(pid, proc=self._proc)
        if resident is None:
            self._known.pop(pid, None)
            return None
        known = self._known.get(pid)
        if known is not None and abs(resident - known.resident) < _DRIFT and now - known.at < _STALE:
            return known.pss + max(0, resident - known.resident)
        pss = pss_bytes(pid, proc=self._proc)
        if pss is None:
            self._known.pop(pid, None)
        else:
            self._known[pid] = _Measured(pss, resident, now)
        return pss


class OwnMeter:
    """PSS of this process and its children, the engines among them: looked at rarely, for it hardly changes."""

    def __init__(self, *, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc, self._clock = proc, clock
        self._sizes: dict[int, int] = {}
        self._at: float | None = None

    def __call__(self) -> dict[int, int]:
        """By process; as it was at most 20 s ago. Where the kernel does not list children, they are left out."""
        now = self._clock()
        if self._at is None or now - self._at >= _STALE:
            self._at = now
            sizes = {pid: pss_bytes(pid, proc=self._proc) for pid in self._processes()}
            self._sizes = {pid: size for pid, size in sizes.items() if size is not None}
        return self._sizes

    def _processes(self) -> list[int]:
        own = os.getpid()
        found = [own]
        for path in (self._proc / str(own) / "task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:
                continue  # the thread has ended
        return found
