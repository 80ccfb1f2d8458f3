"""Where the kernel keeps the books of the container that we are in: cgroup v2 and v1."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def v2_folders(*, proc: Path = PROC, cgroup: Path = CGROUP) -> list[Path]:
    """Our cgroup and its parents up to the mount."""
    paths = [path for controllers, path in _memberships(proc) if not controllers]
    return [folder for root in (cgroup, cgroup / "unified") for path in paths for folder in _upwards(root, path)]


def v1_folders(controller: str, *mounts: str, proc: Path = PROC, cgroup: Path = CGROUP) -> list[Path]:
    """The same for one controller of v1, which may be mounted under several names."""
    paths = [path for controllers, path in _memberships(proc) if controller in controllers.split(",")]
    return [folder for name in mounts for path in paths for folder in _upwards(cgroup / name, path)]


def read(path: Path) -> str:
    """Empty when there is no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _memberships(proc: Path) -> list[tuple[str, str]]:
    """(controllers, path) of each line of /proc/self/cgroup; controllers are empty for v2."""
    lines = read(proc / "self" / "cgroup").splitlines()
    return [(parts[1], parts[2]) for line in lines if len(parts := line.split(":", 2)) == 3]


def _upwards(root: Path, path: str) -> list[Path]:
    """The folder and its parents up to the mount. In a cgroup namespace the path may not exist: the root then does."""
    folder = root / path.lstrip("/")
    folders = [folder, *folder.parents]
    return [each for each in folders if each == root or root in each.parents]
