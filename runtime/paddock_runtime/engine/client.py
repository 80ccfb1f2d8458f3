"""The supervisor's end of the child protocol: commands out, reports in, and the time of the last sign of life."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

from paddock_runtime.engine.frames import FrameReader, ProtocolError
from paddock_runtime.engine.process import ChildProcess
from paddock_runtime.engine.protocol import Message, Report, decode_report, encode
from paddock_runtime.engine.types import EngineType
from paddock_runtime.system.clock import Clock

END_GRACE_SECONDS = 5.0  # a child whose socket is gone ends by itself, or by us


class EngineClient(asyncio.Protocol):
    """One child. `on_report` is called for each report, in order, on the event loop; the first may come before
    `start` returns."""

    def __init__(self, on_report: Callable[[Report], None], clock: Clock) -> None:
        self._on_report = on_report
        self._clock = clock
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.process: ChildProcess | None = None
        self.last_report = clock.monotonic()
        self.fault: str | None = None  # why its words were not understood, if they were not

    async def start(self, engine_type: EngineType) -> ChildProcess:
        """Raises OSError when the program can't be started."""
        self.process = await ChildProcess.start(engine_type.command, self, engine_type.environment())
        if self.fault is not None:
            self.process.kill()
        return self.process

    def listen(self, on_report: Callable[[Report], None]) -> None:
        """From now on reports go there."""
        self._on_report = on_report

    def send(self, message: Message) -> None:
        """Drops it when the child is gone: its end is reported elsewhere. Raises ProtocolError if it is too large."""
        frame = encode(message)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.fault is not None:
            return
        self.last_report = self._clock.monotonic()
        try:
            for payload in self._frames.feed(data):
                self._on_report(decode_report(payload))
        except ProtocolError as error:
            self.fault = str(error)
            if self.process is not None:
                self.process.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closing: so is everything
            asyncio.get_running_loop().call_later(END_GRACE_SECONDS, self._kill)

    def _kill(self) -> None:
        if self.process is not None:
            self.process.kill()
