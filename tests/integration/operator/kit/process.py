"""`python -m paddock_operator`, as a deployment runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.operator.kit.nursery import Child, Nursery


class OperatorProcess:
    """One replica. `logs` are its lines; what is no JSON line fails the test that looks. `nursery` spares it its
    imports."""

    def __init__(self, folder: Path, name: str, environment: dict[str, str], nursery: Nursery | None = None) -> None:
        self.name = name
        self._environment = environment
        self._log = folder / f"{name}.log"
        self._nursery = nursery
        self._process: asyncio.subprocess.Process | Child | None = None
        self._runs = 0
        self.port = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, **environment: str) -> None:
        """Returns at once; `port` is known when it listens."""
        self._runs += 1
        self._log = self._log.with_name(f"{self.name}-{self._runs}.log")
        full = {**os.environ, **self._environment, "HOSTNAME": self.name, **environment}
        if self._nursery is not None:
            self._process = await self._nursery.start(full, self._log)
            return
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "paddock_operator", stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=full)

    async def stop(self, patience: float = 20.0) -> int:
        """By SIGTERM, as a kubelet does. Returns the exit code."""
        return await self._end(signal.SIGTERM, patience)

    async def kill(self) -> int:
        return await self._end(signal.SIGKILL, 20.0)

    async def ended(self, patience: float = 60.0) -> int:
        """Waits until it ends by itself."""
        assert self._process is not None
        async with asyncio.timeout(patience):
            return await self._process.wait()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def command_line(self) -> str:
        """And the environment, as anybody with the same user sees them."""
        folder = Path("/proc", str(self.pid))
        return "\n".join((folder / name).read_bytes().replace(b"\0", b"\n").decode() for name in ("cmdline", "environ"))

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def get(self, path: str) -> tuple[int, str]:
        """From its admin port, which its log tells."""
        port = next(line for line in self.logs() if "port" in line["message"])["message"].rsplit(" ", 1)[1]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()

    def logs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def text(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    async def _end(self, number: signal.Signals, patience: float) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self.thaw()
            self._process.send_signal(number)
        try:
            async with asyncio.timeout(patience):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise
