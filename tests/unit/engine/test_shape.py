"""What the supervisor foretells of a context is what the engine makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from paddock_api.estimate import engine_options
from paddock_api.model import Engine
from paddock_runtime.engine.llama.context import ContextError, Shape
from paddock_runtime.engine.protocol import ContextOptions

ARCHITECTURES = {"full": "llama", "sliding": "gemma3", "recurrent": "mamba", "hybrid": "jamba", "encoder": "bert"}
TOKENS = st.none() | st.integers(1, 40_000)


@given(kind=st.sampled_from(sorted(ARCHITECTURES)), trained=st.integers(128, 40_000),
       length=TOKENS, cache=TOKENS, parallel=st.none() | st.integers(1, 128), embeddings=st.booleans())
def test_the_shape_is_the_foretold_one(kind: str, trained: int, length: int | None, cache: int | None,
                                       parallel: int | None, embeddings: bool) -> None:
    if length is not None and cache is not None and cache < length:
        return  # refused at admission
    weights: Any = SimpleNamespace(memory_class=kind, trained_context=trained)
    options = ContextOptions(context_length=length or 0, cache_tokens=cache or 0, parallel=parallel or 0,
                             embeddings=embeddings)
    facts: Any = SimpleNamespace(architecture=ARCHITECTURES[kind], causal=kind != "encoder", context_length=trained,
                                 sliding_window=512 if kind == "sliding" else 0, sliding_window_pattern=None,
                                 block_count=12)
    told = engine_options(facts, Engine(context_length=length, cache_tokens=cache, parallel=parallel,
                                        embeddings=embeddings))
    try:
        made = Shape(weights, options)
    except ContextError:
        assert kind == "encoder"
        assert length is not None
        assert length > trained
        return
    assert (made.context_length, made.cache_tokens, made.sequences, made.step_tokens) == (
        told.context_length, told.cache_tokens, told.sequences, told.step_tokens)
