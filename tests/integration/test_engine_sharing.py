"""Prefix sharing computes what an unshared run computes: bit for bit in an equal layout, within the floor otherwise.

The floor is what the same prompt's logits move when nothing is shared but cells lie elsewhere (SIMD order,
activation rounding): it is measured here, on the very model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from paddock_runtime.engine.llama.context import Context, Floats
from paddock_runtime.engine.llama.weights import Weights
from paddock_runtime.engine.protocol import ContextOptions
from tests import models
from tests.engine_core import Core, compute, core, distance, loaded

OPTIONS = ContextOptions(context_length=2048, cache_tokens=4096, parallel=16)
WINDOWED = ContextOptions(context_length=2048, cache_tokens=4096, parallel=16, sliding_window_full=False)

CASES = {
    "full": (models.full, OPTIONS),
    "sliding": (models.sliding, OPTIONS),
    "windowed": (models.sliding, WINDOWED),
    "recurrent": (models.recurrent, OPTIONS),
    "hybrid": (models.hybrid, OPTIONS),
    "gemma": (models.gemma, OPTIONS),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Weights, ContextOptions]]:
    build, options = CASES[request.param]
    path: Path = build()
    with loaded(path) as weights:
        yield weights, options


@pytest.fixture
def engine(case: tuple[Weights, ContextOptions]) -> Iterator[Core]:
    weights, options = case
    with core(weights, options) as made:
        yield made


def words(weights: Weights, count: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    usable = [token for token in range(10, min(weights.vocabulary, 5000)) if not weights.ends(token)]
    return [rng.choice(usable) for _ in range(count)]


def assert_within_floor(row: Floats, weights: Weights, options: ContextOptions, tokens: list[int]) -> None:
    """`row` is as near to an unshared run of `tokens` as such runs of other layouts and chunks are to each other."""
    third = len(tokens) // 3
    chunks = [[tokens], [tokens[:third], tokens[third:]], [tokens[:-1], tokens[-1:]],
              [tokens[at : at + 48] for at in range(0, len(tokens), 48)]]
    rows: list[Floats] = []
    for number, split in enumerate(chunks):
        context = Context(weights, options, threads=2)
        try:
            if number:
                compute(context, [words(weights, 50 + 61 * number, 7)], sequence=1)  # shifts the cells
            rows.append(compute(context, split))
        finally:
            context.close()
    floor = max(distance(a, b) for a in rows for b in rows)
    assert min(distance(row, other) for other in rows) <= max(2 * floor, 1e-5)


def plain(weights: Weights, options: ContextOptions, chunks: list[list[int]]) -> Floats:
    context = Context(weights, options, threads=2)
    try:
        return compute(context, chunks)
    finally:
        context.close()


def test_a_fork_in_an_equal_layout_is_bit_equal(engine: Core, case: tuple[Weights, ContextOptions]) -> None:
    weights, options = case
    prefix, suffix = words(weights, 120, 1), words(weights, 40, 2)
    engine.ask(prefix)
    shared = engine.ask(prefix + suffix)
    assert shared.sequence.cached_tokens >= len(prefix) - 1
    reused = shared.sequence.cached_tokens
    # The same cells in the same places, nothing shared: the prefix once, then the rest in one chunk.
    first = [prefix] if reused == len(prefix) else [prefix[:-1]]
    if engine.generator.holdings.anywhere and not engine.context.windowed:
        expected = plain(weights, options, [*first, suffix])
    else:
        # Recurrent classes and window caches keep their state one token before a prompt's end too; the fork took the
        # later one.
        expected = plain(weights, options, [prefix[:-1], prefix[-1:], suffix[:-1], suffix[-1:]])
    np.testing.assert_array_equal(shared.rows[0], expected)


@pytest.mark.parametrize("late", [False, True], ids=["one tick", "while the holder computes"])
def test_sixteen_that_share_a_prefix_compute_it_once(engine: Core, case: tuple[Weights, ContextOptions],
                                                     late: bool) -> None:
    weights, options = case
    prefix = words(weights, 340, 3)
    suffixes = [words(weights, 12, 100 + number) for number in range(16)]
    runs = [engine.start(prefix + suffixes[0])]
    if late:
        engine.step()
        assert 0 < runs[0].sequence.holding.computed < 340  # type: ignore[union-attr]
    chunk = engine.context.shape.step_tokens
    runs += [engine.start(prefix + suffix) for suffix in suffixes[1:]]
    engine.finish(*runs)
    assert engine.generator.evaluated <= 340 + 16 * 12 + chunk
    # The suffixes alone are a chunk at most: not one further token of the prefix may be computed.
    assert engine.generator.evaluated == 340 + 16 * 12
    for run, suffix in list(zip(runs, suffixes, strict=True))[::8]:
        assert_within_floor(run.rows[0], weights, options, prefix + suffix)


def test_a_longer_prompt_waits_only_for_what_it_shares(engine: Core, case: tuple[Weights, ContextOptions]) -> None:
    weights, _ = case
    prefix = words(weights, 100, 4)
    long = engine.start(prefix + words(weights, 900, 5))
    short = engine.start(prefix + words(weights, 5, 6))
    engine.finish(short)
    assert not long.finished
    assert short.sequence.cached_tokens == 100
    engine.finish(long)


def test_rolled_back_prefixes_stay_within_the_floor(engine: Core, case: tuple[Weights, ContextOptions]) -> None:
    weights, options = case
    base = words(weights, 300, 8)
    engine.ask(base, most=20)
    other = base[:250] + words(weights, 30, 9)
    run = engine.ask(other)
    assert_within_floor(run.rows[0], weights, options, other)


def test_salts_share_nothing(engine: Core, case: tuple[Weights, ContextOptions]) -> None:
    weights, _ = case
    tokens = words(weights, 200, 10)
    engine.ask(tokens, salt="a")
    before = engine.generator.evaluated
    run = engine.ask(tokens, salt="b")
    assert run.sequence.cached_tokens == 0
    assert engine.generator.evaluated - before == 200


def test_a_dead_holder_does_not_keep_others_waiting(engine: Core, case: tuple[Weights, ContextOptions]) -> None:
    weights, _ = case
    prefix = words(weights, 400, 11)
    holder = engine.start(prefix + words(weights, 10, 12))
    waiting = engine.start(prefix + words(weights, 10, 13))
    engine.step()
    assert waiting.sequence.holding is None
    engine.generator.cancel(holder.sequence.id)
    engine.finish(waiting)
    assert waiting.finished


def small(options: ContextOptions) -> ContextOptions:
    return ContextOptions(context_length=512, cache_tokens=512, parallel=4,
                          sliding_window_full=options.sliding_window_full)


def test_preempted_sequences_go_on_unseen(case: tuple[Weights, ContextOptions]) -> None:
    weights, options = case
    prompts = [words(weights, 150, 20 + number) for number in range(3)]
    with core(weights, small(options)) as tight:
        runs = [tight.start(prompt, most=60) for prompt in prompts]
        tight.finish(*runs)
        preempted = tight.generator.preemptions
        youngest = runs[-1]
    if weights.memory_class != "recurrent":
        assert preempted > 0  # three times 210 tokens do not fit into 512 cells
    for run, prompt in zip(runs, prompts, strict=True):
        assert len(run.rows) == 60 or run.deltas[-1].finish == "stop"
        assert_within_floor(run.rows[0], weights, options, prompt)
    # After the preemption too: the youngest's last token, against its own text computed in one go.
    tokens = youngest.sequence.tokens[: 150 + len(youngest.rows) - 1]
    assert_within_floor(youngest.rows[-1], weights, options, tokens)


def test_least_recently_used_prefixes_go_first(case: tuple[Weights, ContextOptions]) -> None:
    weights, options = case
    old, kept = words(weights, 150, 31), words(weights, 150, 32)
    with core(weights, small(options)) as tight:
        tight.ask(old)
        tight.ask(kept)
        tight.ask(kept + words(weights, 20, 33))  # used again: younger than `old`
        # In two parts: in one step of 250 tokens llama.cpp would also take cells that are out of the window of `kept`.
        tight.ask(words(weights, 125, 34))
        tight.ask(words(weights, 125, 37))
        again = tight.ask(kept + words(weights, 20, 35))
        gone = tight.ask(old + words(weights, 20, 36))
    if weights.memory_class != "recurrent":  # recurrent states have no cells: nothing had to go
        if options.sliding_window_full:  # a window-size cache no longer has what the roll-back would look at
            assert again.sequence.cached_tokens >= 150
        assert gone.sequence.cached_tokens == 0
    assert_within_floor(gone.rows[0], weights, options, gone.sequence.tokens[: gone.sequence.prompt_tokens])


def test_everything_returns_after_the_last_request(engine: Core, case: tuple[Weights, ContextOptions]) -> None:
    weights, _ = case
    runs = [engine.start(words(weights, 60, 40 + number), most=5) for number in range(24)]
    engine.step()
    for run in runs[::3]:
        engine.generator.cancel(run.sequence.id)
    engine.finish(*[run for number, run in enumerate(runs) if number % 3])
    holdings = engine.generator.holdings
    while holdings.evict():
        pass
    assert holdings.used == 0
    assert engine.generator.requests == 0
    holdings.unpark()
    parking = 1 if holdings.anywhere else 0
    assert len(holdings._free) == engine.context.shape.sequences - parking
    assert all(engine.context.last_position(sequence) == -1 for sequence in range(engine.context.shape.sequences))
