"""What tests of the file store share."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from paddock_api.source import HttpSource, Source
from paddock_runtime.store import FileStore, RetryPolicy
from tests.hub.server import Hub

# Like the real policy, with pauses that tests can wait for.
QUICK = RetryPolicy(stall_seconds=0.5, first_pause=0.01, longest_pause=0.05, longest_retry_after=5.0)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def store_for(hub: Hub, root: Path, *, policy: RetryPolicy = QUICK, reserve_bytes: int = 0) -> FileStore:
    """A store that may fetch from the double, which listens on a loopback address."""
    return FileStore(root, allow_hosts=frozenset({hub.host}), retries=policy, reserve_bytes=reserve_bytes)


def http(hub: Hub, path: str, sha256: str) -> Source:
    return Source(http=HttpSource(url=hub.url(path), sha256=sha256))


def ignore(fraction: float | None) -> None:
    """A progress report that nobody reads."""


def self_signed(folder: Path, name: str) -> Path:
    """A certificate for `name` that signs itself, and its key, in one file."""
    path = folder / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(path), "-out", f"{path}.crt"],
        check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path
