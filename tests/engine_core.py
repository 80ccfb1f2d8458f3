"""Runs the batching core in this process, step by step, and keeps the logits that each sequence sampled from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from paddock_runtime.engine.llama.context import Context, Floats
from paddock_runtime.engine.llama.generator import Generator
from paddock_runtime.engine.llama.sampling import Sampler
from paddock_runtime.engine.llama.sequences import Sequence
from paddock_runtime.engine.llama.text import TextStream
from paddock_runtime.engine.llama.weights import Weights
from paddock_runtime.engine.protocol import ContextOptions, Delta, Rejected

_ids = itertools.count(1)


class Recorder:
    """A greedy sampler that keeps every row it is shown."""

    def __init__(self) -> None:
        self.rows: list[Floats] = []

    def prime(self, tokens: list[int]) -> None:
        del tokens

    def choose(self, row: Floats) -> int:
        self.rows.append(row.copy())
        return int(row.argmax())

    def close(self) -> None:
        self.rows = list(self.rows)


class Run:
    """A sequence under test: `rows` are its logits, one row a generated token."""

    def __init__(self, tokens: list[int], *, most: int, salt: str, shared: str = "", background: bool = False) -> None:
        self.recorder = Recorder()
        self.sequence = Sequence(id=next(_ids), salt=salt, shared=shared, background=background, tokens=list(tokens),
                                 most=most, sampler=cast(Sampler, self.recorder), text=TextStream())
        self.deltas: list[Delta] = []

    @property
    def rows(self) -> list[Floats]:
        return self.recorder.rows

    @property
    def finished(self) -> bool:
        return bool(self.deltas) and self.deltas[-1].finish is not None


class Core:
    """One context and its generator."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.generator = Generator(0, context)
        self.runs: dict[int, Run] = {}
        self.rejected: list[Rejected] = []

    def start(self, tokens: list[int], *, most: int = 1, salt: str = "t", shared: str = "", background: bool = False
              ) -> Run:
        run = Run(tokens, most=most, salt=salt, shared=shared, background=background)
        self.runs[run.sequence.id] = run
        self.generator.submit(run.sequence)
        return run

    def step(self) -> None:
        messages, deltas = self.generator.step()
        self.rejected += [message for message in messages if isinstance(message, Rejected)]
        for delta in deltas:
            self.runs[delta.id].deltas.append(delta)

    def finish(self, *runs: Run, steps: int = 5000) -> None:
        """Step until all are done. Fails when that takes too many steps."""
        for _ in range(steps):
            if all(run.finished for run in runs):
                return
            self.step()
        raise AssertionError(f"not done after {steps} steps: {self.generator.stats()}")

    def ask(self, tokens: list[int], *, most: int = 1, salt: str = "t", shared: str = "") -> Run:
        run = self.start(tokens, most=most, salt=salt, shared=shared)
        self.finish(run)
        return run


@contextmanager
def core(weights: Weights, options: ContextOptions) -> Iterator[Core]:
    context = Context(weights, options, threads=2)
    try:
        yield Core(context)
    finally:
        context.close()


@contextmanager
def loaded(path: Path) -> Iterator[Weights]:
    weights = Weights([str(path)])
    try:
        yield weights
    finally:
        weights.close()


def compute(context: Context, chunks: list[list[int]], *, sequence: int = 0, start: int = 0) -> Floats:
    """Plain llama_decode of the chunks, one call each: the logits of the last token."""
    at = start
    for tokens in chunks:
        size = len(tokens)
        context.tokens[:size] = tokens
        context.positions[:size] = range(at, at + size)
        context.sequence_ids[:size] = sequence
        context.outputs[:size] = 0
        context.outputs[size - 1] = 1
        assert context.decode(size) == 0
        at += size
    row: Floats = context.logits(1)[0].copy()
    return row


def distance(a: Floats, b: Floats) -> float:
    """The largest difference between two rows of logits."""
    return float(np.abs(a - b).max())
