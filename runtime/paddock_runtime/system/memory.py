"""Memory of processes as the kernel counts it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")


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


def measure(pids: Iterable[int], *, proc: Path = PROC) -> dict[int, int]:
    """PSS of each process that still lives."""
    return {pid: size for pid in pids if (size := pss_bytes(pid, proc=proc)) is not None}
