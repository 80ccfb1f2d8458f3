"""Paddock's images, built by buildah without a registry and without a daemon. Needs root on Debian or Ubuntu.

The base is made of this machine's own Debian packages. Everything is kept in buildah's storage by content, so that a
build after a change of sources makes only the layer with the sources.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.cluster import binaries, packages
from tests.cluster.problems import ClusterError

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("operator", "gateway", "runtime")
_BASE_PACKAGES = ("ca-certificates", "libgomp1", "python3-minimal", "python3-venv")
_BASE_OPTIONS = (
    "--variant=apt",
    f"--include={','.join(_BASE_PACKAGES)}",
    '--aptopt=Acquire::Languages "none"',
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "locale", "man")),
)
# What pip must know of this machine to reach its packages from inside of a build.
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "timeout")
# crun refuses hybrid cgroups; chroot needs none.
_BUILDAH = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}


class Image(NamedTuple):
    """`name` is unique for its content: `localhost/paddock-TARGET:ID`."""

    name: str
    id: str


@dataclass(frozen=True)
class Recipe:
    """One target of a Dockerfile. `inputs`: what of `context` it is made of, to tell whether anything changed."""

    target: str
    inputs: tuple[str, ...]
    context: Path = ROOT
    file: str = "Dockerfile"  # in `context`
    contexts: Mapping[str, Path] = field(default_factory=dict)  # folders that replace stages of that name
    arguments: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        digest = hashlib.sha256(repr([self.target, sorted(self.arguments.items()), _base_name()]).encode())
        roots = [self.context / name for name in (self.file, *self.inputs)] + [
            self.contexts[name] for name in sorted(self.contexts)
        ]
        for root in roots:
            for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
                if file.is_file() and "__pycache__" not in file.parts:
                    digest.update(f"{file.relative_to(root.parent)}\n".encode())
                    digest.update(_digest(file))
        return digest.hexdigest()


def paddock(target: str, llama: Path | None = None) -> Recipe:
    """A target of the project's Dockerfile. `llama`: a folder with a wheel of llama-cpp-python, else it is compiled."""
    part = (target,) if target in TARGETS else ()
    contexts = {"llama": llama} if llama and target == "runtime" else {}
    return Recipe(target, (".dockerignore", "requirements", "api", *part), contexts=contexts)


def build(recipe: Recipe) -> Image:
    """The image of a recipe, out of the cache when nothing changed. Raises ClusterError."""
    folder = binaries.cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    record, key = folder / f"paddock-{recipe.target}.json", recipe.key()
    with (folder / f".{recipe.target}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
        if known.get("key") != key or not _exists(known["id"]):
            known = {"key": key, "id": _build(recipe)}
            record.write_text(json.dumps(known))
    return Image(f"localhost/paddock-{recipe.target}:{known['id'][:12]}", known["id"])


def _build(recipe: Recipe) -> str:
    arguments = {"BASE": base(), **recipe.arguments}
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    options += [f"--build-context={name}={folder}" for name, folder in recipe.contexts.items()]
    with tempfile.TemporaryDirectory(prefix="paddock-image-") as temporary:
        volumes = [f"--volume={pip_settings(Path(temporary))}:/etc/pip.conf:ro"]
        if (authorities := Path("/etc/ssl/certs")).is_dir():
            volumes.append(f"--volume={authorities}:{authorities}:ro")
        named = [f"--file={recipe.context / recipe.file}", f"--target={recipe.target}", f"--iidfile={temporary}/id"]
        print(f"cluster: building image {recipe.target}", file=sys.stderr, flush=True)
        _buildah("build", "--layers", *options, *volumes, *named, str(recipe.context))
        identity = Path(temporary, "id").read_text().strip().removeprefix("sha256:")
    _buildah("tag", identity, f"localhost/paddock-{recipe.target}:latest")  # what no name holds may be pruned
    return identity


def _exists(identity: str) -> bool:
    return identity in _buildah("images", "--quiet", "--no-trunc", "--all")


@cache
def _file_digest(file: Path, size: int, modified: int) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _digest(file: Path) -> bytes:
    facts = file.stat()
    return _file_digest(file, facts.st_size, facts.st_mtime_ns)


def archive(image: Image) -> Path:
    """As one file, which `containers.load` and others take. Those of older builds of the same target are removed."""
    folder = binaries.cache() / "images"
    target = image.name.rpartition("/")[2].partition(":")[0]
    file = folder / f"{target}.{image.id[:12]}.tar"
    if not file.exists():
        unfinished = file.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        _buildah("push", "-q", image.id, f"docker-archive:{unfinished}:{image.name}")
        for old in folder.glob(f"{target}.*.tar"):
            old.unlink()
        unfinished.rename(file)
    return file


def base() -> str:
    """The base image's name; $PADDOCK_BASE, or one made of this machine's Debian packages (a minute, once)."""
    name = _base_name()
    if "PADDOCK_BASE" not in os.environ and not _buildah("images", "--quiet", "--filter", f"reference={name}").strip():
        print("cluster: making the base image of this machine's packages", file=sys.stderr, flush=True)
        _make_base(name, _suite())
    return name


def _base_name() -> str:
    facts = [_suite(), platform.machine(), *_BASE_OPTIONS]
    made = f"localhost/paddock-base:{_suite()}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"
    return os.environ.get("PADDOCK_BASE", made)


def _suite() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def _make_base(name: str, suite: str) -> None:
    names = ("sources.list", "sources.list.d/debian.sources", "sources.list.d/ubuntu.sources")
    sources = [file for file in (f"/etc/apt/{name}" for name in names) if os.path.exists(file)]
    with tempfile.TemporaryDirectory(prefix="paddock-base-") as temporary:
        root = f"{temporary}/root.tar"
        _run(["mmdebstrap", "--quiet", *_BASE_OPTIONS, suite, root, *sources], timeout=1200)
        container = _buildah("from", "scratch").strip()
        try:
            _buildah("add", "--quiet", container, root, "/")
            _buildah("commit", "--quiet", container, name)
        finally:
            _buildah("rm", container)


def pip_settings(folder: Path) -> Path:
    """A pip.conf with what this machine's pip is told of indexes and certificates."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False, timeout=60
    )
    known = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", done.stdout, re.MULTILINE))
    lines = ["[global]", *(f"{name} = {known[name]}" for name in _PIP_SETTINGS if name in known)]
    if Path("/etc/ssl/certs/ca-certificates.crt").exists():
        lines.append("cert = /etc/ssl/certs/ca-certificates.crt")
    settings = folder / "pip.conf"
    settings.write_text("\n".join(lines) + "\n")
    settings.chmod(0o644)
    return settings


def _buildah(*arguments: str) -> str:
    if not shutil.which("buildah"):
        packages.ensure(packages.IMAGES)
    return _run(["buildah", *arguments], timeout=3600)


def _run(command: Sequence[str], *, timeout: float) -> str:
    done = subprocess.run(
        command, env={**os.environ, **_BUILDAH}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        raise ClusterError(
            f"{' '.join(command[:2])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}"
        )
    return done.stdout
