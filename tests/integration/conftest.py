"""After each integration test no process may be left that it started: a leaked engine holds memory for good."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.apiserver import ApiServer

# A process gets this long to end after its test, in seconds.
PATIENCE = 15.0
# May outlive the test that started them: Python's own helper of multiprocessing, an API server that was restarted.
_OURS_TO_KEEP = (b"multiprocessing.resource_tracker", b"/kube-apiserver\0")


def descendants(root: int) -> dict[int, str]:
    """Processes below `root`, the ended but unreaped ones too: pid → command."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue  # ended meanwhile
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found: dict[int, str] = {}
    grown = True
    while grown:
        fresh = {pid for pid, parent in parents.items() if (parent == root or parent in found) and pid not in found}
        found.update({pid: _command(pid) for pid in fresh})
        grown = bool(fresh)
    return {pid: command for pid, command in found.items() if command}


def _command(pid: int) -> str:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    if any(kept in line for kept in _OURS_TO_KEEP):
        return ""
    return line.replace(b"\0", b" ").decode(errors="replace").strip() or "(ended, but nobody waited for it)"


@pytest.fixture(autouse=True)
def no_process_left_behind() -> Iterator[None]:
    before = descendants(os.getpid())
    yield
    deadline = time.monotonic() + PATIENCE
    while left := {pid: command for pid, command in descendants(os.getpid()).items() if pid not in before}:
        if time.monotonic() > deadline:
            pytest.fail("processes left behind: " + "; ".join(f"{pid} {command}" for pid, command in left.items()))
        time.sleep(0.05)


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """One for all tests, each in a namespace of its own. A test that stops it makes another for itself."""
    with ApiServer() as server:
        yield server
