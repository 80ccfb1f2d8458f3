"""Operator processes that start at once: each is forked from one that has imported everything, and is real from there.

A test that kills the operator fifty times would spend its time on imports. `python -m …kit.nursery` takes one JSON line
a process, {"environment", "log"}, and answers with its pid, then with how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from paddock_operator.__main__ import main as operate


class Child:
    """As much of asyncio's Process as anybody needs."""

    def __init__(self, pid: int, answers: asyncio.StreamReader) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ending = asyncio.create_task(self._end(answers))

    async def wait(self) -> int:
        return await asyncio.shield(self._ending)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def _end(self, answers: asyncio.StreamReader) -> int:
        self.returncode = int(await answers.readline())
        return self.returncode


class Nursery:
    """One process at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._child: Child | None = None

    async def start(self, environment: Mapping[str, str], log: Path) -> Child:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._child = Child(int(await self._process.stdout.readline()), self._process.stdout)
        return self._child

    async def close(self) -> None:
        """What still lives is killed."""
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@contextlib.asynccontextmanager
async def open_nursery() -> AsyncIterator[Nursery]:
    # Nobody measures what ends by os._exit, and a tracer that is inherited would only slow it down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.operator.kit.nursery", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, env=environment, cwd=Path(__file__).parents[4])
    made = Nursery(process)
    try:
        yield made
    finally:
        await made.close()


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(request)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _live(request: Mapping[str, object]) -> None:
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, file in ((0, nothing), (1, log), (2, log)):
        os.dup2(file, number)
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    try:
        os._exit(operate([]))
    except BaseException:  # noqa: BLE001 - the process ends here in any case, and its log tells why
        traceback.print_exc()
    os._exit(1)


if __name__ == "__main__":
    main()
