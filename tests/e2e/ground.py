"""Which cluster the tests run on, with Paddock's images in it.

- `KUBECONFIG` set: that one. The images must be where it finds them: `E2E_IMAGES`, such as
  `registry.example/paddock-{target}:tag`.
- `kind` and a Docker that answers: a cluster named paddock-e2e, made for the run.
- else, as root on Debian or Ubuntu: one of plain processes on this machine (tests/cluster).

`E2E_KEEP=1` leaves a cluster that was made for the run. `python -m tests.e2e.ground` builds beforehand what the last
kind needs, and starts nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import binaries, containers, images, lifecycle, packages
from tests.cluster.images import Image
from tests.cluster.problems import ClusterError
from tests.e2e import recipes

_KIND = "paddock-e2e"


@dataclass(frozen=True)
class Ground:
    """`images`: target → reference that pods can name."""

    kubeconfig: Path
    kubectl: Path
    helm: Path
    images: Mapping[str, str] = field(default_factory=dict)


def has_faults() -> bool:
    """Whether the parts of the cluster that `provide` gives can be stopped from here."""
    return not os.environ.get("KUBECONFIG") and not _has_kind()


@contextmanager
def provide() -> Iterator[Ground]:
    """One run at a time on a machine. Raises ClusterError when no cluster can be had."""
    binaries.cache().mkdir(parents=True, exist_ok=True)
    with (binaries.cache() / "e2e.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.environ.get("KUBECONFIG"):
            yield _given()
        elif _has_kind():
            with _kind() as ground:
                yield ground
        else:
            with _processes() as ground:
                yield ground


def _given() -> Ground:
    pattern = os.environ.get("E2E_IMAGES", "")
    if "{target}" not in pattern:
        raise ClusterError(
            "KUBECONFIG is set: say in E2E_IMAGES where that cluster finds the images, such as "
            "registry.example/paddock-{target}:tag (targets: " + ", ".join(recipes.NAMES) + ")"
        )
    names = {target: pattern.replace("{target}", target) for target in recipes.NAMES}
    return Ground(Path(os.environ["KUBECONFIG"]), _program("kubectl"), _program("helm"), names)


def _has_kind() -> bool:
    if not (shutil.which("kind") and shutil.which("docker")):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode == 0


@contextmanager
def _kind() -> Iterator[Ground]:
    kubeconfig = binaries.cache() / "kind.kubeconfig"
    known = _output("kind", "get", "clusters").split()
    if _KIND in known:
        _output("kind", "export", "kubeconfig", f"--name={_KIND}", f"--kubeconfig={kubeconfig}")
    else:
        _output("kind", "create", "cluster", f"--name={_KIND}", f"--kubeconfig={kubeconfig}", "--wait=180s")
    try:
        names = {}
        for recipe in recipes.all_of(compiled_here=False):
            names[recipe.target] = f"docker.io/library/paddock-{recipe.target}:e2e"
            _output("docker", "build", f"--tag={names[recipe.target]}", *recipes.docker_options(recipe))
            _output("kind", "load", "docker-image", f"--name={_KIND}", names[recipe.target])
        yield Ground(kubeconfig, _program("kubectl"), _program("helm"), names)
    finally:
        if _KIND not in known and not os.environ.get("E2E_KEEP"):
            _output("kind", "delete", "cluster", f"--name={_KIND}")


@contextmanager
def _processes() -> Iterator[Ground]:
    running = lifecycle.is_up()
    try:
        with ThreadPoolExecutor() as pool:
            starting = pool.submit(lifecycle.up)
            archives = _archives()
            kubeconfig = starting.result()
        held = containers.image_names(lifecycle.FOLDER)
        for image, archive in archives.values():
            if image.name not in held:
                containers.load(lifecycle.FOLDER, archive)
        names = {target: image.name for target, (image, _) in archives.items()}
        yield Ground(kubeconfig, binaries.path("kubectl"), binaries.path("helm"), names)
    finally:
        if not running and not os.environ.get("E2E_KEEP"):
            lifecycle.down()


def _archives() -> dict[str, tuple[Image, Path]]:
    """Each image, and the file that it is in."""
    built = {recipe.target: images.build(recipe) for recipe in recipes.all_of(compiled_here=True)}
    return {target: (image, images.archive(image)) for target, image in built.items()}


def _program(name: str) -> Path:
    """Out of PATH, else compiled."""
    found = shutil.which(name)
    return Path(found) if found else binaries.ensure([name]) / name


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    if done.returncode:
        raise ClusterError(f"{' '.join(command[:3])}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def main() -> int:
    """Nothing, where the cluster is another one."""
    if not has_faults():
        return 0
    try:
        packages.ensure(packages.NODE)
        binaries.ensure()
        _archives()
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
