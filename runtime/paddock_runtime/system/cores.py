"""How many cores this container may use: the cgroup's CPU quota (v2 and v1) and the CPU affinity.

Threads beyond the quota do not run slower, they make all others wait at the barriers of each step.
"""

from __future__ import annotations

import os
from pathlib import Path

from paddock_runtime.system.cgroup import CGROUP, PROC, read, v1_folders, v2_folders


def usable_cores(*, proc: Path = PROC, cgroup: Path = CGROUP, affinity: int | None = None) -> int:
    """Whole cores, at least 1. A quota of 2.5 cores gives 2: a third thread would be throttled."""
    available = affinity if affinity is not None else len(os.sched_getaffinity(0))
    quota = cpu_quota(proc=proc, cgroup=cgroup)
    return max(1, available if quota is None else min(available, int(quota)))


def cpu_quota(*, proc: Path = PROC, cgroup: Path = CGROUP) -> float | None:
    """The tightest quota on the way from our cgroup to the root, in cores; None when there is none."""
    second = v2_folders(proc=proc, cgroup=cgroup)
    first = v1_folders("cpu", "cpu", "cpu,cpuacct", proc=proc, cgroup=cgroup)
    quotas = [quota for folder in second if (quota := _v2_quota(folder)) is not None]
    quotas += [quota for folder in first if (quota := _v1_quota(folder)) is not None]
    return min(quotas, default=None)


def _v2_quota(folder: Path) -> float | None:
    fields = read(folder / "cpu.max").split()
    if len(fields) != 2 or fields[0] == "max":
        return None
    return int(fields[0]) / int(fields[1])


def _v1_quota(folder: Path) -> float | None:
    quota, period = read(folder / "cpu.cfs_quota_us").strip(), read(folder / "cpu.cfs_period_us").strip()
    if not quota or not period or int(quota) <= 0 or int(period) <= 0:
        return None
    return int(quota) / int(period)
