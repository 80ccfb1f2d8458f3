"""What the container holds against its memory limit, and whether the kernel is short of memory already."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from paddock_runtime.system.cgroup import CGROUP, PROC, read, v1_folders, v2_folders

_UNLIMITED = 1 << 60  # v1 writes "no limit" as a number near 2**63


@dataclass(frozen=True, kw_only=True)
class ContainerMemory:
    """`used_bytes`: what the kernel can't take back without harm: all that is charged, but for files that nobody maps.
    (Kubernetes' working set counts the active ones of those too: with weights of models that left, a false alarm.)

    `limit_bytes` is None without a limit. `stalled`: percent of the last 10 s in which everything waited for memory.
    """

    used_bytes: int = 0
    limit_bytes: int | None = None
    stalled: float = 0.0


def container_memory(*, proc: Path = PROC, cgroup: Path = CGROUP) -> ContainerMemory:
    """Of the cgroup on the way to the root that is nearest to its limit."""
    second = v2_folders(proc=proc, cgroup=cgroup)
    first = v1_folders("memory", "memory", proc=proc, cgroup=cgroup)
    found = [each for folder in second if (each := _v2(folder)) is not None]
    found += [each for folder in first if (each := _v1(folder)) is not None]
    used, limit = max(found, key=lambda each: each[0] / each[1], default=(0, None))
    return ContainerMemory(used_bytes=used, limit_bytes=limit, stalled=_stalled(second, proc))


def _v2(folder: Path) -> tuple[int, int] | None:
    return _charged(folder, "memory.current", "memory.max", "")


def _v1(folder: Path) -> tuple[int, int] | None:
    return _charged(folder, "memory.usage_in_bytes", "memory.limit_in_bytes", "total_")


def _charged(folder: Path, usage: str, limit: str, prefix: str) -> tuple[int, int] | None:
    """(used, limit); None without a limit."""
    current, most = _number(read(folder / usage)), _number(read(folder / limit))
    if current is None or most is None or not 0 < most < _UNLIMITED:
        return None
    pairs = (line.split() for line in read(folder / "memory.stat").splitlines())
    stat = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    mapped = stat.get(f"{prefix}mapped_file", stat.get("file_mapped", 0))
    files = stat.get(f"{prefix}inactive_file", 0) + stat.get(f"{prefix}active_file", 0)
    return current - min(current, max(0, files - mapped)), most


def _stalled(folders: Iterable[Path], proc: Path) -> float:
    texts = (read(path) for path in (*(folder / "memory.pressure" for folder in folders), proc / "pressure" / "memory"))
    text = next((text for text in texts if text), "")
    line = next((line for line in text.splitlines() if line.startswith("full ")), "")
    fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
    try:
        return float(fields.get("avg10", "0"))
    except ValueError:
        return 0.0


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else None
