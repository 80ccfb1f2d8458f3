"""Outputs of one job on their way to its reader: in order, bounded, with the reader's pace as flow control."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from paddock_api.errors import PaddockError
from paddock_runtime.engine.protocol import Delta, PositionLogprobs
from paddock_runtime.jobs import Output, Text, Vectors, Waiting

_OUTPUT_BYTES = 64  # what an output costs beside its text
_LOGPROB_BYTES = 48


def size_of(output: Output) -> int:
    """Bytes an output holds, roughly, never too few by much."""
    if isinstance(output, Text):
        return _OUTPUT_BYTES + _delta_bytes(output.delta)
    if isinstance(output, Vectors):
        return _OUTPUT_BYTES  # the answer as a whole: it can't be paused
    return _OUTPUT_BYTES


def _delta_bytes(delta: Delta) -> int:
    return len(delta.text.encode()) + sum(map(_position_bytes, delta.logprobs or ()))


def _position_bytes(position: PositionLogprobs) -> int:
    return sum(_LOGPROB_BYTES + len(entry.data) for entry in (position.chosen, *position.top))


class Outbox:
    """One writer, one reader. `on_slow` and `on_taken` tell the engine to pause and to go on.

    It pauses at half of `limit_bytes`: what the engine sends before it hears of it has room in the other half.
    """

    def __init__(self, *, limit_bytes: int, clock: Callable[[], float]) -> None:
        self._high, self._low = limit_bytes // 2, limit_bytes // 4
        self._clock = clock
        self._outputs: deque[tuple[Output, int]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._end: PaddockError | None = None
        self._ended = False
        self._full_since: float | None = None
        self.bytes = 0
        self.paused = False
        self.on_slow: Callable[[], None] = _nothing
        self.on_taken: Callable[[], None] = _nothing

    def put(self, output: Output) -> None:
        """After the end, outputs are dropped. A `Waiting` not yet read is replaced by the next."""
        if self._ended:
            return
        if isinstance(output, Waiting) and self._outputs and isinstance(self._outputs[-1][0], Waiting):
            self.bytes -= self._outputs.pop()[1]
        size = size_of(output)
        self._outputs.append((output, size))
        self.bytes += size
        if self._full_since is None:
            self._full_since = self._clock()
        if self.bytes >= self._high and not self.paused:
            self.paused = True
            self.on_slow()
        self._wake()

    def end(self, error: PaddockError | None = None, *, drop: bool = False) -> None:
        """No more outputs. The reader gets what is left (not with `drop`), then `error` if there is one."""
        if self._ended:
            return
        self._ended, self._end = True, error
        if drop:
            self._outputs.clear()
            self.bytes = 0
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    @property
    def ready(self) -> bool:
        """Whether `next` would answer at once."""
        return bool(self._outputs) or self._ended

    @property
    def ended(self) -> bool:
        return self._ended

    def stalled_for(self, now: float) -> float:
        """Seconds since the reader took something, while there is something to take."""
        return 0.0 if self._full_since is None else now - self._full_since

    async def next(self) -> Output | None:
        """The next output, None at the end. Raises the error that ended it."""
        while not self._outputs:
            if self._ended:
                if self._end is not None:
                    raise self._end
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        output, size = self._outputs.popleft()
        self.bytes -= size
        self._full_since = self._clock() if self._outputs else None
        if self.paused and self.bytes <= self._low:
            self.paused = False
            self.on_taken()
        return output


def _nothing() -> None:
    pass
