"""What containerd holds: images brought in, containers found, everything taken down."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import network, node
from tests.cluster.problems import ClusterError

_RUN = Path("/run/containerd")  # where shims and runc keep their sockets and state, whatever containerd's own folder

_CNI_RESULTS = Path("/var/lib/cni/results")
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")  # fixed in the kubelet
# Folders outside of ours that the above are in, innermost first.
_SHARED = (
    Path("/var/log/containers"),
    *(_RUN / name for name in ("s", "fifo", "runc/k8s.io", "runc")),
    _RUN,
    _CNI_RESULTS,
    _CNI_RESULTS.parent,
    _DEVICE_PLUGINS,
    _DEVICE_PLUGINS.parent,
)


def answers(folder: Path) -> bool:
    return _ctr(folder, "version").returncode == 0


def load(folder: Path, archive: Path) -> None:
    """Import an image archive (OCI or Docker). Raises ClusterError."""
    done = _ctr(folder, "images", "import", str(archive))
    if done.returncode:
        raise ClusterError(f"importing {archive.name}: {done.stderr.strip()[-1000:]}")


def image_names(folder: Path) -> set[str]:
    return set(_ctr(folder, "images", "ls", "-q").stdout.split())


def pid(folder: Path, container: str) -> int:
    """The process of a container, as this machine sees it. Raises ClusterError when it does not run."""
    for name, number, _ in _tasks(folder):
        if name == container.removeprefix("containerd://"):
            return number
    raise ClusterError(f"no container {container} runs here")


def remove_all(folder: Path) -> None:
    """Kill every container and end its shim. Raises ClusterError when one does not end."""
    if not node.socket(folder).exists():
        return
    deadline = time.monotonic() + 30
    while tasks := list(_tasks(folder)):
        for name, _, status in tasks:
            if status == "STOPPED":
                _ctr(folder, "tasks", "rm", name)  # ends its shim
            else:
                _ctr(folder, "tasks", "kill", "-s", "KILL", "-a", name)
        if time.monotonic() > deadline:
            raise ClusterError(f"containers that do not end: {', '.join(name for name, *_ in tasks)}")
        time.sleep(0.05)


def clean(folder: Path) -> None:
    """Unmount what is below `folder`, remove it, and what containerd, CNI and kubelet leave outside of it."""
    if not folder.exists():
        return
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounts if place.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{folder}/"):
            link.unlink()
    for result in _CNI_RESULTS.glob(f"{node.POD_NETWORK}-*"):
        known = json.loads(result.read_text())
        for place in {end["sandbox"] for end in known["result"]["interfaces"] if "sandbox" in end}:
            network.remove_namespace(Path(place).name)
        for of_same_pod in _CNI_RESULTS.glob(f"*-{known['containerId']}-*"):
            of_same_pod.unlink()
    (_DEVICE_PLUGINS / "kubelet.sock").unlink(missing_ok=True)
    for left in _SHARED:
        with contextlib.suppress(OSError):  # not there, or somebody else's things are in it
            left.rmdir()
    network.forget_namespaces()
    shutil.rmtree(folder, ignore_errors=True)


def _tasks(folder: Path) -> Iterator[tuple[str, int, str]]:
    for line in _ctr(folder, "tasks", "ls").stdout.splitlines()[1:]:
        name, number, status = line.split()
        yield name, int(number), status


def _ctr(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["ctr", f"--address={node.socket(folder)}", "--namespace=k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
