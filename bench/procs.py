"""What /proc says: the processes of a side, their memory and CPU time, and how busy the machine is otherwise."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def tree(roots: Iterable[int], proc: Path = _PROC) -> set[int]:
    """The processes of `roots` and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        fields = _stat(entry) if entry.name.isdigit() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def pss_bytes(pids: Iterable[int], proc: Path = _PROC) -> int:
    """Proportional set size: a page that several processes map counts once in their sum. The dead count nothing."""
    total = 0
    for pid in pids:
        try:
            text = (proc / str(pid) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024


def cpu_seconds(pids: Iterable[int], proc: Path = _PROC) -> float:
    """User and system time of the living processes and of their children that ended."""
    ticks = 0
    for pid in pids:
        fields = _stat(proc / str(pid))
        if fields is not None:
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / _TICKS


def machine_busy_seconds(proc: Path = _PROC) -> float:
    """CPU seconds that anybody used since boot: all but idle, iowait, and the guest times (counted in user already)."""
    values = [int(value) for value in (proc / "stat").read_text().splitlines()[0].split()[1:]]
    return (sum(values[:8]) - values[3] - values[4]) / _TICKS


def _stat(entry: Path) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (index 1 = parent, 11…14 = CPU ticks); None when it has gone."""
    try:
        text = (entry / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None
    return text.rpartition(")")[2].split()


def usable_cores() -> int:
    """Whole cores that this process may use: its affinity, within the cgroup's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


@dataclass(frozen=True, slots=True)
class Load:
    """Who used the CPU meanwhile, in shares of one core. `others`: neither the client nor the side."""

    client: float
    side: float
    others: float


def cpu_model(proc: Path = _PROC) -> str:
    for line in (proc / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
