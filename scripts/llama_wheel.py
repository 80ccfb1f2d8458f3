"""llama-cpp-python's wheel for this machine: out of the cache, or built from its hash-locked sdist (minutes).

The cache is `$XDG_CACHE_HOME/paddock/wheels/KEY/`, the wheel beside its sha256. The key holds all that a native build
depends on, so a cache on a shared home folder never hands a machine instructions that its CPU lacks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Some virtual machines advertise AMX, and fault on its first instruction: never compile it in.
_NO_AMX = ["-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16"]


class InstallError(Exception):
    """Something that the user has to put right; the message says what."""


def key(locks: Path) -> str:
    """Names a build: pinned sources and tools, options, processor, C library, Python."""
    facts = [
        (locks / "llama.txt").read_text(),
        (locks / "llama-build.txt").read_text(),
        *(f"{name}={os.environ.get(name, '')}" for name in ("CMAKE_ARGS", "CFLAGS", "CXXFLAGS", "CC", "CXX")),
        *_NO_AMX,
        *_processor(),
        *platform.libc_ver(),
        sys.implementation.cache_tag,
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def _processor() -> list[str]:
    wanted = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    seen = {line.partition(":")[0].strip(): line for line in lines if line.startswith(wanted)}
    return [platform.system(), platform.machine(), *sorted(seen.values())]


def ensure(python: Path, locks: Path) -> Path:
    """The verified wheel. `python` is an interpreter with pip. Raises InstallError, CalledProcessError."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "paddock" / "wheels" / key(locks)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another clone may be building the same
        return verified(folder) or build(python, locks, folder)


def verified(folder: Path) -> Path | None:
    """The wheel in `folder`, if it is what its own record says."""
    for wheel in folder.glob("*.whl"):
        record = wheel.with_suffix(".whl.sha256")
        if record.exists() and record.read_text().strip() == hashlib.sha256(wheel.read_bytes()).hexdigest():
            return wheel
        print(f"install: {wheel} does not match its sha256; building anew", file=sys.stderr)
        wheel.unlink()
    return None


def build(python: Path, locks: Path, folder: Path) -> Path:
    need_compiler()
    print("install: building llama.cpp for this machine, once (4 minutes on 2 cores)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as temporary:
        tools = Path(temporary) / "tools"
        subprocess.run([python, "-m", "venv", tools], check=True)
        pip: list[str | Path] = [tools / "bin/python", "-m", "pip", "--disable-pip-version-check", "--no-input"]
        pinned: list[str | Path] = ["--require-hashes", "-r"]
        _run([*pip, "install", "--only-binary=:all:", *pinned, locks / "llama-build.txt"])
        output = Path(temporary) / "out"
        made: list[str | Path] = ["wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", output]
        _run([*pip, *made, *pinned, locks / "llama.txt"], env=environment(tools))
        wheel = next(output.glob("*.whl"))
        target = folder / wheel.name
        record = target.with_suffix(".whl.sha256")
        record.write_text(hashlib.sha256(wheel.read_bytes()).hexdigest())
        wheel.rename(target)
    return target


def environment(tools: Path) -> dict[str, str]:
    """The build's environment: the locked cmake and ninja first, and no AMX."""
    environ = dict(os.environ)
    environ["PATH"] = f"{tools / 'bin'}{os.pathsep}{environ.get('PATH', '')}"
    flags = " ".join(flag for flag in _NO_AMX if platform.machine() == "x86_64" and _compiler_knows(flag))
    for name in ("CFLAGS", "CXXFLAGS"):
        environ[name] = f"{environ.get(name, '')} {flags}".strip()
    return environ


def _compiler_knows(flag: str) -> bool:
    """One that is too old to know AMX can't use it either."""
    command = [os.environ.get("CC", "cc"), flag, "-fsyntax-only", "-x", "c", "/dev/null"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def need_compiler() -> None:
    missing = [tool for tool in (os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")) if not shutil.which(tool)]
    if not missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("install: installing build-essential (a C++ compiler)", file=sys.stderr, flush=True)
        _run(["apt-get", "update", "-qq"])
        packages = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "build-essential"]
        _run(packages, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        return
    raise InstallError(
        f"no {' and no '.join(missing)} found: building llama.cpp needs a C and a C++ compiler "
        "(Debian: sudo apt-get install build-essential; Fedora: sudo dnf install gcc-c++)"
    )


def _run(command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
    """Quietly; what the command said is shown when it fails."""
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        sys.stderr.buffer.write(done.stdout[-8000:])
        raise subprocess.CalledProcessError(done.returncode, command)
