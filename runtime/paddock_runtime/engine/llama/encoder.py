"""Embeddings: whole inputs in one batch, no cache kept. Encoders and pooled decoders alike."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from paddock_runtime.engine.llama import native
from paddock_runtime.engine.llama.context import Context, Decoded, Floats
from paddock_runtime.engine.llama.pace import Pace
from paddock_runtime.engine.protocol import ContextStats, Delta, Embedded, Message, Rejected


@dataclass(eq=False, kw_only=True)
class Embedding:
    """A request: its inputs as tokens, and the vectors that are done."""

    id: int
    inputs: list[list[int]]
    vectors: list[bytes] = field(default_factory=list)


def take(pending: list[int], *, budget: int, sequences: int, step_limit: int) -> int:
    """How many of the next inputs (lengths in tokens) go into one batch: at least one. Pure."""
    taken = total = 0
    for length in pending:
        if taken and (total + length > min(budget, step_limit) or taken >= sequences):
            break
        taken += 1
        total += length
    return taken


def normalised(vector: Floats) -> Floats:
    """The vector with Euclidean length 1; zero stays zero."""
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0 else vector


class Encoder:
    """One context's embedding requests. The decode thread calls `step`."""

    def __init__(self, number: int, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self.context = context
        self._clock = clock
        self._length = context.weights.facts().embedding_length
        self.pace = Pace(most=context.shape.step_tokens)
        self._queue: deque[Embedding] = deque()
        self.evaluated = 0
        self.progressed = True  # every step embeds something

    def submit(self, request: Embedding) -> None:
        self._queue.append(request)

    def cancel(self, request: int) -> None:
        self._queue = deque(each for each in self._queue if each.id != request)

    def pause(self, request: int, *, paused: bool) -> None:
        """Embeddings answer once: there is nothing to pause."""

    def set_threads(self, count: int) -> None:
        self.context.set_threads(count)

    def trim(self) -> None:
        """It keeps nothing."""

    def close(self) -> None:
        self._queue.clear()
        self.context.close()

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    @property
    def requests(self) -> int:
        return len(self._queue)

    def stats(self) -> ContextStats:
        return ContextStats(
            context=self.number, live=min(1, len(self._queue)), waiting=max(0, len(self._queue) - 1), idle_prefixes=0,
            cells_used=0, cells_total=self.context.shape.cache_tokens, prompt_tokens_evaluated=self.evaluated,
            prompt_tokens_reused=0, tokens_generated=0, preemptions=0, prefix_evictions=0)

    def step(self) -> tuple[list[Message], list[Delta]]:
        """Embed one batch: inputs of several requests side by side, each a sequence of its own."""
        if not self._queue:
            return [], []
        waiting = [(request, tokens) for request in self._queue for tokens in request.inputs[len(request.vectors):]]
        shape = self.context.shape
        count = take([len(tokens) for _, tokens in waiting[: shape.sequences]], budget=self.pace.chunk(generating=0),
                     sequences=shape.sequences, step_limit=shape.step_tokens)
        batch = waiting[:count]
        total = self._fill([tokens for _, tokens in batch])
        began = self._clock()
        if self.context.decode(total) is not Decoded.OK:
            failed = self._queue.popleft()
            return [Rejected(id=failed.id, code="internal_error", message="the engine had no room for this input")], []
        for sequence, (request, _) in enumerate(batch):
            request.vectors.append(normalised(self.context.pooled(sequence, self._length)).astype("<f4").tobytes())
            self.context.drop_sequence(sequence)
        self.pace.observe(prompt_tokens=total, seconds=self._clock() - began)
        self.evaluated += total
        return self._completed(), []

    def _fill(self, inputs: list[list[int]]) -> int:
        context, at = self.context, 0
        for sequence, tokens in enumerate(inputs):
            end = at + len(tokens)
            context.tokens[at:end] = tokens
            context.positions[at:end] = range(len(tokens))
            context.sequence_ids[at:end] = sequence
            context.outputs[at:end] = 1
            at = end
        return at

    def _completed(self) -> list[Message]:
        done: list[Message] = []
        while self._queue and len(self._queue[0].vectors) == len(self._queue[0].inputs):
            request = self._queue.popleft()
            done.append(Embedded(id=request.id, vectors=request.vectors, dimensions=self._length,
                                 tokens=sum(len(tokens) for tokens in request.inputs)))
        return done


def pooling_problem(context: Context) -> str | None:
    """Why this context can't give one vector per input."""
    name = native.POOLING_NAMES.get(context.pooling, "none")
    if name in ("mean", "cls", "last"):
        return None
    return f"pooling {name!r} does not give one vector per input: set spec.engine.pooling to Mean, CLS or Last"
