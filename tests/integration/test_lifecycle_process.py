"""A child process and its socket: whatever the child does, nothing is left of it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

import pytest

from paddock_runtime.engine.client import EngineClient
from paddock_runtime.engine.process import STDERR_LINE_BYTES, STDERR_LINES, ChildProcess
from paddock_runtime.engine.protocol import Hello, Inspect, Report
from paddock_runtime.system.clock import Clock
from tests.lifecycle_kit import Faulty, alive, children, descriptors, until


class Script(Faulty):
    """A child that runs the given Python with `fd` and `connection` at hand."""

    def __init__(self, body: str) -> None:
        super().__init__()
        self._body = body

    def command(self, fd: int) -> Sequence[str]:
        head = f"import os, socket, sys, time\nfd = {fd}\nconnection = socket.socket(fileno=fd)\n"
        return [sys.executable, "-c", head + self._body]


HELLO = """
from paddock_runtime.engine.protocol import Hello, encode
connection.sendall(encode(Hello(protocol=1, engine="script", version="1")))
"""


async def started(body: str) -> tuple[EngineClient, ChildProcess, list[Report]]:
    reports: list[Report] = []
    client = EngineClient(reports.append, Clock())
    return client, await client.start(Script(body)), reports


async def test_it_talks_and_ends_when_its_socket_closes() -> None:
    client, process, reports = await started(HELLO + "while connection.recv(100): pass\nos._exit(3)")
    await until(lambda: bool(reports))
    assert reports == [Hello(protocol=1, engine="script", version="1")]
    client.send(Inspect())
    assert await process.close(grace=30.0) == 3
    assert not alive(process.pid)
    client.send(Inspect())  # to nobody: dropped


async def test_one_that_does_not_listen_is_killed_after_its_grace() -> None:
    _, process, reports = await started(HELLO + "time.sleep(1000)")
    await until(lambda: bool(reports))
    assert await process.close(grace=0.1) == -9
    assert not alive(process.pid)


@pytest.mark.parametrize(
    "garbage", ["b'\\xff' * 100", "b'\\0\\0\\0\\x05hello'"], ids=["impossible length", "no report"])
async def test_words_that_are_no_protocol_end_it(garbage: str) -> None:
    client, process, reports = await started(HELLO + f"connection.sendall({garbage})\ntime.sleep(1000)")
    assert await asyncio.wait_for(process.ended(), 60) == -9
    assert client.fault is not None
    assert [type(report) for report in reports] in ([Hello], [])  # none if both came in one piece


async def test_its_last_words_are_kept_within_bounds_and_made_printable() -> None:
    body = ("sys.stderr.write('x' * 10_000_000 + chr(10))\n"
            "for number in range(1000): print('line', number, chr(27) + '[31m', file=sys.stderr)\n"
            "sys.stderr.write('no line break at the end')")
    _, process, _ = await started(body)
    assert await asyncio.wait_for(process.ended(), 60) == 0
    tail = process.tail()
    assert len(tail) == STDERR_LINES
    assert tail[-1] == "no line break at the end"
    assert tail[-2] == "line 999  [31m"
    assert all(len(line) <= STDERR_LINE_BYTES for line in tail)


async def test_a_grandchild_that_keeps_stderr_open_holds_nobody_up() -> None:
    began = time.monotonic()
    _, process, _ = await started("import subprocess\nsubprocess.Popen(['sleep', '20'])\nos._exit(0)")
    assert await process.ended() == 0
    assert time.monotonic() - began < 15


async def test_a_program_that_is_not_there() -> None:
    class Missing(Faulty):
        def command(self, fd: int) -> Sequence[str]:
            return ["/nowhere/engine", str(fd)]

    before = descriptors()
    for _ in range(20):
        with pytest.raises(FileNotFoundError):
            await EngineClient(lambda report: None, Clock()).start(Missing())
    await until(lambda: descriptors() <= before)


async def test_a_hundred_starts_leave_neither_process_nor_descriptor() -> None:
    async def once(number: int) -> None:
        _, process, _ = await started("time.sleep(1000)" if number % 2 else "os._exit(1)")
        await process.close(grace=0.0 if number % 2 else 30.0)

    await once(0)
    before = descriptors()
    for number in range(100):
        await once(number)
    assert children() == set()
    await until(lambda: descriptors() <= before)
