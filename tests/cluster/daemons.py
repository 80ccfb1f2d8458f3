"""Processes that outlive the command that started them: found again, stopped, restarted by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.problems import ClusterError


class Daemons:
    """`folder` keeps, per name, the command and the process (run/NAME.json) and its log (log/NAME.log)."""

    def __init__(self, folder: Path) -> None:
        self.run, self.logs = folder / "run", folder / "log"
        self._children: dict[str, subprocess.Popen[bytes]] = {}  # of this process: it must wait for them

    def start(self, name: str, command: Sequence[str | Path], *, netns: str | None = None) -> None:
        """`netns`: the network namespace to run in. Not `ip netns exec`, which hides /sys/fs/cgroup."""
        self.run.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        inside = ["nsenter", f"--net=/run/netns/{netns}", "--"] if netns else []
        whole = [*inside, *map(str, command)]
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                whole, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        self._children[name] = process
        record = {"command": whole, "pid": process.pid, "started": _started(process.pid)}
        (self.run / f"{name}.json").write_text(json.dumps(record))

    def restart(self, name: str) -> None:
        """With the command it was started with."""
        command: list[str] = self._record(name)["command"]
        self.stop(name)
        self.start(name, command)

    def pid(self, name: str) -> int | None:
        """Of the running process; None when it has ended, or was never started."""
        try:
            record = self._record(name)
        except ClusterError:
            return None
        if child := self._children.get(name):
            child.poll()
        pid = int(record["pid"])
        return pid if record["started"] is not None and _started(pid) == record["started"] else None

    def names(self) -> list[str]:
        return sorted(file.stem for file in self.run.glob("*.json"))

    def signal(self, name: str, number: signal.Signals) -> None:
        pid = self.pid(name)
        if pid is None:
            raise ClusterError(f"{name} is not running")
        os.kill(pid, number)

    def stop(self, *names: str, within: float = 10.0) -> None:
        """All at once, then wait; one that does not end in time is killed."""
        running = [name for name in names if self.pid(name)]
        for name in running:
            self.signal(name, signal.SIGCONT)  # a frozen one hears no SIGTERM
            self.signal(name, signal.SIGTERM)
        deadline = time.monotonic() + within
        for name in running:
            while (pid := self.pid(name)) is not None:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)
            if child := self._children.pop(name, None):
                child.wait()

    def log(self, name: str, characters: int = 3000) -> str:
        try:
            return (self.logs / f"{name}.log").read_text(errors="replace")[-characters:]
        except OSError:
            return ""

    def wait(self, name: str, what: str, ready: Callable[[], bool], within: float = 120.0) -> None:
        """Until `ready()`. Raises ClusterError, with the end of its log, when the process ends or time is up."""
        deadline = time.monotonic() + within
        while not ready():
            if self.pid(name) is None:
                raise ClusterError(f"{name} ended before {what}:\n{self.log(name)}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{what}: not within {within:.0f} s; {name} says:\n{self.log(name)}")
            time.sleep(0.1)

    def forget(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)

    def _record(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.run / f"{name}.json").read_text())
        except OSError as error:
            known = ", ".join(self.names()) or "none"
            raise ClusterError(f"no such part of the cluster: {name} (there are: {known})") from error
        return found


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid, it names a process. None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
