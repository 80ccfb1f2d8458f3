"""The engine child: one socket, one set of weights, any number of contexts, one decode thread.

Three threads share it. The *reader* takes frames off the socket and prepares requests (tokens, grammar, sampler);
the *decode thread* owns weights and contexts and takes the contexts in turn; the *pulse* tells each second that the
process lives and how far the decode thread is, so that a stuck step can be told from an idle one.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from paddock_runtime.engine.frames import FrameReader, ProtocolError
from paddock_runtime.engine.llama import native
from paddock_runtime.engine.llama.behind import LEAVING_SECONDS, WriteBehind
from paddock_runtime.engine.llama.context import Context, ContextError
from paddock_runtime.engine.llama.encoder import Embedding, Encoder
from paddock_runtime.engine.llama.generator import Generator
from paddock_runtime.engine.llama.prepare import Refused, embedding, generation, scoring
from paddock_runtime.engine.llama.sequences import Sequence
from paddock_runtime.engine.llama.weights import LoadError, Weights
from paddock_runtime.engine.protocol import (
    PROTOCOL_VERSION,
    Cancel,
    CloseContext,
    Command,
    ContextClosed,
    ContextFailed,
    ContextOpened,
    Embed,
    Generate,
    Hello,
    Inspect,
    Load,
    Loaded,
    LoadFailed,
    Message,
    Notice,
    OpenContext,
    Pause,
    Progress,
    Rejected,
    Resume,
    Score,
    Stats,
    Step,
    Threads,
    Trim,
    decode_command,
    encode,
)

_PULSE_SECONDS = 1.0
_NOTHING_TO_DO_SECONDS = 0.02  # when all that waits, waits for room that only a command can free
_READ_BYTES = 1 << 18


@dataclass(frozen=True)
class _Ready:
    """A request that the reader has prepared."""

    context: int
    request: Sequence | Embedding


@dataclass(frozen=True)
class _HungUp:
    """The supervisor's end of the socket is closed."""

    code: int


_Item = Command | _Ready | _HungUp
_Runner = Generator | Encoder


class Child:
    def __init__(self, connection: socket.socket, *, end: Callable[[int], None] = os._exit) -> None:
        self._socket = connection
        self._end = end
        self._sending = threading.Lock()
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._weights: Weights | None = None
        self._runners: dict[int, _Runner] = {}
        self._threads = 1
        self._steps = 0
        self._loading = False
        self._behind = WriteBehind(lambda message: self._send(Notice(message=message)))

    def run(self) -> None:
        """Serve until the socket closes: then the process ends at once, whatever the decode thread does, or in the two
        seconds that it may take to write what it holds."""
        native.start()
        self._send(Hello(protocol=PROTOCOL_VERSION, engine="llama.cpp", version=native.version()))
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        while True:
            self._work()

    # --- decode thread ------------------------------------------------------------------------

    def _work(self) -> None:
        """Take all commands, then one step of each busy context."""
        progressed = False
        for runner in list(self._runners.values()):
            if runner.busy:
                progressed |= self._step(runner)
        busy = any(runner.busy for runner in self._runners.values())
        try:
            wait = self._behind.work(busy=busy)
            if busy:
                wait = min(_NOTHING_TO_DO_SECONDS, wait if wait is not None else _NOTHING_TO_DO_SECONDS)
            item = self._inbox.get(block=not progressed, timeout=wait)
            while True:
                self._handle(item)
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass

    def _step(self, runner: _Runner) -> bool:
        before = runner.requests
        messages, deltas = runner.step()
        self._steps += 1
        for message in messages:
            self._send(message)
        if deltas:
            self._send(Step(number=self._steps, deltas=deltas))
        return runner.progressed or runner.requests != before

    def _handle(self, item: _Item) -> None:
        match item:
            case _Ready(context=number, request=request):
                self._submit(number, request)
            case Load():
                self._load(item)
            case OpenContext():
                self._open(item)
            case CloseContext(context=number):
                self._close(number)
            case Threads(count=count):
                self._change_threads(count)
            case Cancel() | Pause() | Resume():
                self._steer(item)
            case Trim():
                self._trim()
            case Inspect():
                self._send(self._stats())
            case _HungUp(code=code):
                self._write_the_last(code)
            case Generate() | Embed() | Score():
                raise AssertionError("the reader prepares these")

    def _steer(self, command: Cancel | Pause | Resume) -> None:
        """A word about one request: the others don't know it and do nothing."""
        for runner in self._runners.values():
            if isinstance(command, Cancel):
                runner.cancel(command.id)
            else:
                runner.pause(command.id, paused=isinstance(command, Pause))

    def _change_threads(self, count: int) -> None:
        self._threads = count
        for runner in self._runners.values():
            runner.set_threads(count)

    def _trim(self) -> None:
        for runner in self._runners.values():
            runner.trim()
        native.give_back()
        self._send(self._stats())

    def _close(self, number: int) -> None:
        runner = self._runners.pop(number, None)

        def closed() -> None:
            if runner is not None:
                runner.close()
            self._send(ContextClosed(context=number))

        if isinstance(runner, Generator):
            self._behind.leave(runner, closed)
        else:
            closed()

    def _write_the_last(self, code: int) -> None:
        self._runners.clear()
        self._behind.leave_all()
        while self._behind.leaving:
            time.sleep(self._behind.work(busy=False) or 0.0)
        self._end(code)

    def _submit(self, number: int, request: Sequence | Embedding) -> None:
        runner = self._runners.get(number)
        match runner, request:
            case Generator(), Sequence():
                runner.submit(request)
            case Encoder(), Embedding():
                runner.submit(request)
            case _:  # the context was closed, or another opened under its number, while this was prepared
                self._send(_no_context(request.id, number))

    def _load(self, command: Load) -> None:
        began = time.monotonic()
        self._threads = command.threads
        self._loading = True
        self._send(Progress(fraction=0.0))  # the load began: from here on, what happens is its fault
        try:
            self._weights = Weights(command.paths, gpu_layers=command.gpu_layers, progress=self._progress())
            self._send(Loaded(facts=self._weights.facts(), seconds=time.monotonic() - began))
        except LoadError as error:
            self._send(LoadFailed(code=error.code, message=error.message))
            self._end(0)
        finally:
            self._loading = False

    def _progress(self) -> Callable[[float], bool]:
        last = -1.0

        def report(fraction: float) -> bool:
            nonlocal last
            if fraction - last >= 0.05:
                last = fraction
                self._send(Progress(fraction=fraction))
            return True

        return report

    def _open(self, command: OpenContext) -> None:
        if self._weights is None:
            self._send(ContextFailed(context=command.context, code="internal_error", message="no weights are loaded"))
            return
        try:
            context = Context(self._weights, command.options, threads=self._threads)
        except ContextError as error:
            self._send(ContextFailed(context=command.context, code=error.code, message=error.message))
            return
        runner = (Encoder if context.shape.embeddings else Generator)(command.context, context)
        if isinstance(runner, Generator) and command.prompts is not None:
            self._behind.keep(runner, command.prompts)
        self._runners[command.context] = runner
        shape, buffers = context.shape, context.buffers
        self._send(ContextOpened(
            context=command.context, context_length=shape.context_length, cache_tokens=shape.cache_tokens,
            parallel=shape.parallel, cache_bytes=buffers.get("KV", 0) + buffers.get("RS", 0),
            compute_bytes=buffers.get("compute", 0) + buffers.get("output", 0)))

    # --- reader thread ------------------------------------------------------------------------

    def _read(self) -> None:
        frames = FrameReader()
        try:
            while data := self._socket.recv(_READ_BYTES):
                for payload in frames.feed(data):
                    self._take(decode_command(payload))
        except (OSError, ProtocolError):
            self._hang_up(1)
        self._hang_up(0)

    def _hang_up(self, code: int) -> None:
        """Idle prompts are written if the decode thread comes to it in time."""
        if self._behind.keeping:
            self._inbox.put(_HungUp(code))
            time.sleep(2 * LEAVING_SECONDS)
        self._end(code)

    def _take(self, command: Command) -> None:
        """Requests are prepared here, so that a long prompt's tokens or a large grammar delay no step."""
        if not isinstance(command, Generate | Embed | Score):
            self._inbox.put(command)
            return
        runner = self._runners.get(command.context)
        if runner is None:
            self._send(_no_context(command.id, command.context))
            return
        try:
            self._inbox.put(_Ready(command.context, _prepared(command, runner.context)))
        except Refused as error:
            self._send(Rejected(id=command.id, code=error.code, message=error.message, param=error.param))
        except Exception as error:  # noqa: BLE001 - preparing touches nothing shared: only this request fails
            traceback.print_exc()
            self._send(Rejected(id=command.id, code="internal_error", message=f"could not prepare: {error!r}"))

    # --- pulse --------------------------------------------------------------------------------

    def _pulse(self) -> None:
        while True:
            time.sleep(_PULSE_SECONDS)
            self._send(self._stats())

    def _stats(self) -> Stats:
        runners = list(self._runners.values())
        return Stats(step=self._steps, busy=self._loading or any(runner.busy for runner in runners),
                     contexts=[runner.stats() for runner in runners])

    def _send(self, message: Message) -> None:
        frame = encode(message)
        try:
            with self._sending:
                self._socket.sendall(frame)
        except OSError:
            if not self._behind.keeping:  # or else the reader notices too, and gives time to write
                self._end(0)


def _prepared(command: Generate | Embed | Score, context: Context) -> Sequence | Embedding:
    """Raises Refused."""
    match command:
        case Generate():
            return generation(command, context)
        case Score():
            return scoring(command, context)
        case Embed():
            return embedding(command, context)


def _no_context(request: int, number: int) -> Rejected:
    return Rejected(id=request, code="internal_error", message=f"context {number} is not open")
