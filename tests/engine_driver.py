"""Drives a real engine child over its socket, without the supervisor: for tests of the engine itself."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from paddock_runtime.engine.frames import FrameReader
from paddock_runtime.engine.protocol import (
    Cancel,
    Command,
    ContextOpened,
    ContextOptions,
    ContextStats,
    Embed,
    Embedded,
    Generate,
    Hello,
    Inspect,
    Load,
    Loaded,
    OpenContext,
    PositionLogprobs,
    Rejected,
    Report,
    Sampling,
    Started,
    Stats,
    Step,
    Usage,
    decode_report,
    encode,
)

T = TypeVar("T")

GREEDY = Sampling(temperature=0.0)


@dataclass
class Answer:
    """What came for one request."""

    text: str = ""
    finish: str | None = None
    usage: Usage | None = None
    stopped_by: str | None = None
    started: Started | None = None
    rejected: Rejected | None = None
    embedded: Embedded | None = None
    logprobs: list[PositionLogprobs] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.finish is not None or self.rejected is not None or self.embedded is not None


class EngineProcess:
    """A child with one set of weights and (by default) one context, number 0."""

    def __init__(self, path: Path, options: ContextOptions | None = None, *, threads: int = 2) -> None:
        self._start()
        self.send(Load(paths=[str(path)], threads=threads))
        self.facts = self.expect(Loaded).facts
        self.opened = self.open(0, options or ContextOptions())

    @classmethod
    def bare(cls) -> EngineProcess:
        """A child that has loaded nothing yet."""
        engine = cls.__new__(cls)
        engine._start()
        return engine

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "paddock_runtime.engine.llama", str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=dict(os.environ))
        theirs.close()
        self.socket = ours
        self.frames = FrameReader()
        self.answers: dict[int, Answer] = {}
        self.reports: list[Report] = []
        self._ids = itertools.count(1)
        self.expect(Hello)

    def open(self, number: int, options: ContextOptions) -> ContextOpened:
        self.send(OpenContext(context=number, options=options))
        return self.expect(ContextOpened)

    def close(self) -> int:
        """Close the socket: the child ends. Its exit code."""
        self.socket.close()
        return self.process.wait(10)

    def ended(self) -> int:
        """The exit code of a child that ends by itself."""
        code = self.process.wait(10)
        self.socket.close()
        return code

    def send(self, *commands: Command) -> None:
        self.socket.sendall(b"".join(encode(command) for command in commands))

    def pump(self, timeout: float = 60.0) -> None:
        """Take in whatever comes next. Raises EOFError when the child is gone."""
        self.socket.settimeout(timeout)
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError(f"the child ended: {self.process.wait(10)}")
        for payload in self.frames.feed(data):
            self._note(decode_report(payload))

    def _note(self, report: Report) -> None:
        self.reports.append(report)
        match report:
            case Step(deltas=deltas):
                for delta in deltas:
                    answer = self.answers.setdefault(delta.id, Answer())
                    answer.text += delta.text
                    answer.logprobs += delta.logprobs or []
                    if delta.finish:
                        answer.finish, answer.usage, answer.stopped_by = delta.finish, delta.usage, delta.stopped_by
            case Started(id=number):
                self.answers.setdefault(number, Answer()).started = report
            case Rejected(id=number):
                self.answers.setdefault(number, Answer()).rejected = report
            case Embedded(id=number):
                self.answers.setdefault(number, Answer()).embedded = report

    def expect(self, kind: type[T], timeout: float = 60.0) -> T:
        """The next report of this kind."""
        start = len(self.reports)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = next((report for report in self.reports[start:] if isinstance(report, kind)), None)
            if found is not None:
                return found
            self.pump(timeout)
        raise TimeoutError(kind)

    def wait(self, *numbers: int, until: Callable[[Answer], bool] = lambda answer: answer.over,
             timeout: float = 120.0) -> list[Answer]:
        deadline = time.monotonic() + timeout
        while not all(number in self.answers and until(self.answers[number]) for number in numbers):
            if time.monotonic() > deadline:
                raise TimeoutError([self.answers.get(number) for number in numbers])
            self.pump(timeout)
        return [self.answers[number] for number in numbers]

    def generate_all(self, prompts: list[str] | list[list[int]], *, salt: str = "t", context: int = 0,
                     max_tokens: int | None = 8, sampling: Sampling = GREEDY, stop: list[str] | None = None,
                     logprobs: int | None = None, grammar: str | None = None, json_schema: str | None = None
                     ) -> list[int]:
        """Send all in one write; return their ids."""
        commands = [Generate(id=next(self._ids), context=context, salt=salt, prompt=prompt, max_tokens=max_tokens,
                             sampling=sampling, stop=stop or [], logprobs=logprobs, grammar=grammar,
                             json_schema=json_schema) for prompt in prompts]
        self.send(*commands)
        return [command.id for command in commands]

    def ask(self, prompt: str | list[int], **options: object) -> Answer:
        (number,) = self.generate_all([prompt], **options)  # type: ignore[arg-type]
        return self.wait(number)[0]

    def embed(self, *inputs: str, context: int = 0) -> Answer:
        number = next(self._ids)
        self.send(Embed(id=number, context=context, inputs=list(inputs)))
        return self.wait(number)[0]

    def cancel(self, number: int) -> None:
        self.send(Cancel(id=number))

    def stats(self, context: int = 0) -> ContextStats:
        self.send(Inspect())
        report = self.expect(Stats)
        return next(each for each in report.contexts if each.context == context)
