"""The cluster's programs, compiled once from pinned Go modules and kept by the content of what they were made from.

They lie in `$XDG_CACHE_HOME/paddock/cluster/VERSION/`, each beside its key: a warm call only compares keys.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.cluster import golang
from tests.cluster.problems import ClusterError

MODULES = Path(__file__).parent / "go"
VERSION: str = re.findall(r"^\tk8s\.io/kubernetes (v1\.\S+)", (MODULES / "kube/go.mod").read_text(), re.MULTILINE)[0]


class Program(NamedTuple):
    module: str
    package: str


def _kube(name: str) -> Program:
    return Program("kube", f"k8s.io/kubernetes/cmd/{name}")


# In the order in which they are of use: with the first three there is an API server.
PROGRAMS = {
    "etcd": Program("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": _kube("kube-apiserver"),
    "kubectl": _kube("kubectl"),
    "kube-controller-manager": _kube("kube-controller-manager"),
    "kube-scheduler": _kube("kube-scheduler"),
    "kubelet": _kube("kubelet"),
    "kube-proxy": _kube("kube-proxy"),
    "coredns": Program("coredns", "."),
    "helm": Program("helm", "helm.sh/helm/v4/cmd/helm"),
    "pause": Program("pause", "."),
}
API_SERVER = ("etcd", "kube-apiserver", "kubectl")


def cache() -> Path:
    """Where everything that is made for clusters is kept, whatever its version."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "paddock" / "cluster"


def folder() -> Path:
    return cache() / VERSION


def path(name: str) -> Path:
    return folder() / name


def key(name: str) -> str:
    """Names what a program is made of: its module's files, the pinned sums among them, the flags, the platform."""
    program = PROGRAMS[name]
    digest = hashlib.sha256("\n".join([*program, _ldflags(), platform.machine()]).encode())
    for file in sorted((MODULES / program.module).iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_built(name: str) -> bool:
    try:
        return path(name).exists() and _stamp(name).read_text() == key(name)
    except OSError:
        return False


def ensure(names: Iterable[str] = tuple(PROGRAMS)) -> Path:
    """Compile what is missing of `names`. Returns the folder of all programs. Raises ClusterError."""
    missing = [name for name in names if not is_built(name)]
    if missing:
        go = golang.ensure(cache())
        folder().mkdir(parents=True, exist_ok=True)
        for name in missing:
            with (folder() / f".{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # another checkout may be building the same
                if not is_built(name):
                    _build(go, name)
    return folder()


def _build(go: Path, name: str) -> None:
    print(f"cluster: compiling {name}", file=sys.stderr, flush=True)
    program, unfinished = PROGRAMS[name], folder() / f".{name}.new"
    command: Sequence[str | Path] = [
        go, "build", "-trimpath", "-buildvcs=false", "-ldflags", _ldflags(), "-o", unfinished, program.package,
    ]  # fmt: skip
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    try:
        subprocess.run(
            command, cwd=MODULES / program.module, env=environment, stdin=subprocess.DEVNULL, check=True, timeout=3600
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"compiling {name} failed (its own words are above): {error}") from error
    _stamp(name).unlink(missing_ok=True)
    unfinished.rename(path(name))
    _stamp(name).write_text(key(name))


def _stamp(name: str) -> Path:
    return folder() / f".{name}.key"


def _ldflags() -> str:
    """What a released Kubernetes says of its version; the other programs do not know these names and ignore them."""
    _, minor, _ = VERSION.split(".")
    facts = {"gitVersion": VERSION, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in facts.items())])
