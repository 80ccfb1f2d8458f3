"""The node's own cgroup, /paddock, in every hierarchy that the machine has (v1, hybrid or v2)."""

from __future__ import annotations

from pathlib import Path

ROOT = "paddock"
_MOUNTS = Path("/sys/fs/cgroup")


def create() -> None:
    """Kubelet wants its root to exist in every controller beforehand; cpuset starts empty and holds nobody then."""
    for hierarchy in _hierarchies():
        own = hierarchy / ROOT
        own.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (own / name).exists() and not (own / name).read_text().strip():
                (own / name).write_text((hierarchy / name).read_text())


def remove() -> None:
    for hierarchy in _hierarchies():
        for folder in sorted((hierarchy / ROOT).rglob("*/"), reverse=True):
            folder.rmdir()
        if (hierarchy / ROOT).exists():
            (hierarchy / ROOT).rmdir()


def processes() -> list[int]:
    """Those that still run in it."""
    found: set[int] = set()
    for hierarchy in _hierarchies():
        for file in (hierarchy / ROOT).rglob("cgroup.procs"):
            found.update(int(pid) for pid in file.read_text().split())
    return sorted(found)


def _hierarchies() -> list[Path]:
    if (_MOUNTS / "cgroup.controllers").exists():
        return [_MOUNTS]
    return [
        place for place in sorted(_MOUNTS.iterdir()) if (place / "cgroup.procs").exists() and not place.is_symlink()
    ]
