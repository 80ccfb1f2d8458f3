"""How much memory this machine, or the container that we are in, has."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")

_MOST = 4 << 30
_SHARE = 0.8


def default_budget(*, proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """4 GiB, or 80% of what there is when that is less."""
    return min(_MOST, int(_SHARE * memory_bytes(proc=proc, cgroup=cgroup)))


def memory_bytes(*, proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """The machine's memory, or the tightest limit of the cgroups that we are in."""
    limits = [limit for path in _limit_files(proc, cgroup) if (limit := _limit(path)) is not None]
    return min([_total(proc), *limits])


def _limit_files(proc: Path, cgroup: Path) -> list[Path]:
    files: list[Path] = []
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        if not controllers:
            files += [folder / "memory.max" for folder in _upwards(cgroup, path)]
        elif "memory" in controllers.split(","):
            files += [folder / "memory.limit_in_bytes" for folder in _upwards(cgroup / "memory", path)]
    return files


def _upwards(root: Path, path: str) -> list[Path]:
    folder = root / path.lstrip("/")
    return [each for each in (folder, *folder.parents) if each == root or root in each.parents]


def _limit(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() and int(text) > 0 else None


def _total(proc: Path) -> int:
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return _MOST


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
