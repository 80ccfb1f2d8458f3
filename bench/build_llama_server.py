"""Build the peer: llama-server, from the llama.cpp sources inside the llama-cpp-python sdist that Paddock itself uses.

`python -m bench.build_llama_server` prints the path of the binary. Sources and tools are those of the lock files, the
compiler's flags those of our own wheel. The build is kept under ${XDG_CACHE_HOME:-~/.cache}/paddock/llama-server, one
folder for each (pins, flags, processor), and is made again only when one of them changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import llama_wheel

LOCKS = Path(__file__).resolve().parents[1] / "requirements"

# What ggml gets is what the wheel's CMakeLists gives it: shared libraries, optimised for this processor, the rest at
# its defaults. The other options leave out what a bench does not need.
CMAKE_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
)


class BuildError(Exception):
    """The peer could not be built; the message says what to do."""


def cache_folder(locks: Path, environ: Mapping[str, str]) -> Path:
    base = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256("\n".join([llama_wheel.key(locks), *CMAKE_FLAGS]).encode()).hexdigest()[:16]
    return base / "paddock" / "llama-server" / f"{version(locks)}-{key}"


def version(locks: Path) -> str:
    """Of llama-cpp-python, as locked. Raises BuildError."""
    found = re.search(r"^llama-cpp-python==([\w.]+)", (locks / "llama.txt").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError("requirements/llama.txt does not pin llama-cpp-python: write it with `make lock`")
    return found[1]


def ensure(locks: Path = LOCKS) -> Path:
    """The path of llama-server, built now if need be (about 8 minutes on 2 idle cores). Raises BuildError."""
    folder = cache_folder(locks, os.environ)
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / "build" / "bin" / "llama-server"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another bench may be building the same
        if not (folder / "complete").exists():
            try:
                _build(folder, locks)
                _run([binary, "--version"])
            except llama_wheel.InstallError as error:
                raise BuildError(str(error)) from error
            (folder / "complete").touch()
    return binary


def _build(folder: Path, locks: Path) -> None:
    llama_wheel.need_compiler()
    build = folder / "build"
    shutil.rmtree(build, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as temporary:
        scratch = Path(temporary)
        python = _tools(scratch / "tools", locks)
        env = llama_wheel.environment(scratch / "tools")
        source = _source(python, scratch, locks, env)
        _run(["cmake", "-S", source, "-B", build, "-G", "Ninja", *CMAKE_FLAGS], env)
        _run(["cmake", "--build", build, "--target", "llama-server"], env)
    for child in build.iterdir():  # the binaries find each other by the path of build/bin; the rest is 100s of MB
        if child.is_dir() and child.name != "bin":
            shutil.rmtree(child)
        elif child.is_file():
            child.unlink()


def _tools(folder: Path, locks: Path) -> Path:
    """A throw-away environment with the locked cmake, ninja and build backend; returns its interpreter."""
    _run([sys.executable, "-m", "venv", folder])
    python = folder / "bin" / "python"
    _run([*_pip(python), "install", "--only-binary=:all:", "--require-hashes", "-r", locks / "llama-build.txt"])
    return python


def _source(python: Path, scratch: Path, locks: Path, env: Mapping[str, str]) -> Path:
    """The sdist through pip, which refuses one whose hash is not locked; returns llama.cpp's folder in it."""
    sdist = scratch / "sdist"
    _run([*_pip(python), "download", "--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes",
          "-r", locks / "llama.txt", "-d", sdist], env)
    with tarfile.open(next(sdist.glob("*.tar.gz"))) as archive:
        archive.extractall(scratch / "source", filter="data")
    return next((scratch / "source").glob("*/vendor/llama.cpp"))


def _pip(python: Path) -> list[str | Path]:
    return [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]


def _run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
    """With its output on stderr, for stdout is the report's. Raises BuildError."""
    print("+", *command, file=sys.stderr, flush=True)
    path = (env or os.environ).get("PATH")
    program = shutil.which(command[0], path=path) or command[0]
    done = subprocess.run([program, *command[1:]], env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise BuildError(f"{command[0]} ended with {done.returncode}: see its output above")


if __name__ == "__main__":
    print(ensure())
