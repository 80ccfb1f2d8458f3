"""A child scores prompts: the logits at their end, and nothing kept of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from paddock_runtime.engine.protocol import ContextOptions, Score, Scored
from paddock_runtime.lifecycle.checks import distance
from tests.engine_driver import EngineProcess

SMALL = ContextOptions(context_length=512, cache_tokens=1024, parallel=4)
_numbers = itertools.count(1000)


def score(engine: EngineProcess, prompt: str) -> bytes:
    number = next(_numbers)
    engine.send(Score(id=number, context=0, salt=f"s{number}", prompt=prompt))
    scored = engine.expect(Scored)
    assert scored.id == number
    return scored.logits


def test_the_likeliest_token_of_a_score_is_what_greedy_generation_begins_with(gemma: Path) -> None:
    engine = EngineProcess(gemma, SMALL)
    logits = np.frombuffer(score(engine, "The capital of France is"), "<f4")
    assert len(logits) == engine.facts.vocabulary
    first = engine.ask("The capital of France is", max_tokens=1, logprobs=2).logprobs[0]
    two = np.sort(logits)[-2:]
    assert first.top[0].logprob - first.top[1].logprob == pytest.approx(two[1] - two[0], abs=1e-3)
    engine.close()


def test_a_score_leaves_no_prefix_and_ends_nobodys_answer(gemma: Path) -> None:
    engine = EngineProcess(gemma, SMALL)
    idle = engine.stats().idle_prefixes
    (running,) = engine.generate_all(["Once upon a time"], salt="other", max_tokens=40)
    rows = [score(engine, "Tell me a very long story about a house, a tree, a dog and a cat. " * 4) for _ in range(3)]
    assert max(distance(rows[0], row) for row in rows) < 0.01
    usage = engine.wait(running)[0].usage
    assert usage is not None
    assert usage.completion_tokens == 40
    stats = engine.stats()
    assert (stats.live, stats.waiting) == (0, 0)
    assert stats.idle_prefixes <= idle + 1, "of the running one alone"
    engine.close()


def test_a_score_that_can_not_be_is_refused_and_one_can_be_cancelled(gemma: Path, minilm: Path) -> None:
    engine = EngineProcess(gemma, SMALL)
    engine.send(Score(id=1, context=0, salt="s", prompt="word " * 600))
    (answer,) = engine.wait(1)
    assert answer.rejected is not None
    assert answer.rejected.code == "context_length_exceeded"
    engine.send(Score(id=2, context=0, salt="s", prompt="word " * 400))
    engine.cancel(2)
    assert score(engine, "x")
    assert engine.stats().live == 0
    engine.close()
    encoder = EngineProcess(minilm)
    encoder.send(Score(id=1, context=0, salt="s", prompt="x"))
    (answer,) = encoder.wait(1)
    assert answer.rejected is not None
    assert answer.rejected.code == "unsupported"
    encoder.close()
