"""How many cores this container may use: the cgroup's CPU quota (v2 and v1) and the CPU affinity.

Threads beyond the quota do not run slower, they make all others wait at the barriers of each step.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def usable_cores(*, proc: Path = PROC, cgroup: Path = CGROUP, affinity: int | None = None) -> int:
    """Whole cores, at least 1. A quota of 2.5 cores gives 2: a third thread would be throttled."""
    available = affinity if affinity is not None else len(os.sched_getaffinity(0))
    quota = cpu_quota(proc=proc, cgroup=cgroup)
    return max(1, available if quota is None else min(available, int(quota)))


def cpu_quota(*, proc: Path = PROC, cgroup: Path = CGROUP) -> float | None:
    """The tightest quota on the way from our cgroup to the root, in cores; None when there is none."""
    quotas = [quota for folder in _v2_folders(proc, cgroup) if (quota := _v2_quota(folder)) is not None]
    quotas += [quota for folder in _v1_folders(proc, cgroup) if (quota := _v1_quota(folder)) is not None]
    return min(quotas, default=None)


def _memberships(proc: Path) -> list[tuple[str, str]]:
    """(controllers, path) of each line of /proc/self/cgroup; controllers are empty for v2."""
    lines = _read(proc / "self" / "cgroup").splitlines()
    return [(parts[1], parts[2]) for line in lines if len(parts := line.split(":", 2)) == 3]


def _v2_folders(proc: Path, cgroup: Path) -> list[Path]:
    paths = [path for controllers, path in _memberships(proc) if not controllers]
    roots = [cgroup, cgroup / "unified"]
    return [folder for root in roots for path in paths for folder in _upwards(root, path)]


def _v1_folders(proc: Path, cgroup: Path) -> list[Path]:
    paths = [path for controllers, path in _memberships(proc) if "cpu" in controllers.split(",")]
    roots = [cgroup / "cpu", cgroup / "cpu,cpuacct"]
    return [folder for root in roots for path in paths for folder in _upwards(root, path)]


def _upwards(root: Path, path: str) -> list[Path]:
    """The folder and its parents up to the mount. In a cgroup namespace the path may not exist: the root then does."""
    folder = root / path.lstrip("/")
    folders = [folder, *folder.parents]
    return [each for each in folders if each == root or root in each.parents]


def _v2_quota(folder: Path) -> float | None:
    fields = _read(folder / "cpu.max").split()
    if len(fields) != 2 or fields[0] == "max":
        return None
    return int(fields[0]) / int(fields[1])


def _v1_quota(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    if not quota or not period or int(quota) <= 0 or int(period) <= 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
