"""How much memory a model needs, from its header alone: before a download, before a load.

An upper estimate for the llama.cpp engine on the CPU. What was measured corrects it later. Formulas follow llama.cpp
0.3.36 and were checked against its own log lines ("buffer size"):
- weights: every tensor once (mapped), and once more what the CPU repacks (ggml-cpu/repack.cpp,
  ggml_repack_get_optimal_repack_type);
- cache: llama-kv-cache.cpp (K and V rows of each layer x cells), llama-kv-cache-iswa.cpp (size_swa),
  llama-memory-recurrent.cpp (R and S rows of each layer x sequences, F32);
- compute: llama-context.cpp sched_reserve and output_reserve. The graph of one micro-batch peaks either inside a
  layer, beside the attention masks (F16, cells x tokens), or at the logits; the output buffer comes on top;
- process: interpreter, libraries, and llama.cpp's vocabulary (about 170 bytes a token on a 262,144-token one).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paddock_api.engine import CacheType, Engine, SlidingWindowCache
from paddock_api.gguf import GgufFacts, GgufHeader, Tensor
from paddock_api.memory_layers import (
    MemoryClass,
    cached_layers,
    memory_class,
    recurrent_layers,
    recurrent_state_elements,
    windowed_layers,
)

MIB = 1 << 20
PROCESS_BYTES = 48 * MIB
_VOCABULARY_ENTRY_BYTES = 176
_CELL_RECORD_BYTES = 160  # position, shift, set of sequences, and two tree nodes of a used cell
_MASK_BYTES = 2
_COMPUTE_FLOOR_BYTES = 4 * MIB

STEP_TOKENS = 512
DEFAULT_CONTEXT = 8192
DEFAULT_EMBEDDING_CONTEXT = 2048
CELL_PADDING = 256
MAX_SEQUENCES = 256

# bytes a block, elements a block
_CACHE_TYPES: dict[CacheType, tuple[int, int]] = {
    CacheType.F32: (4, 1), CacheType.F16: (2, 1), CacheType.BF16: (2, 1), CacheType.Q8_0: (34, 32)}

# The types that a CPU may repack (a second copy), by machine; an unknown machine gets all of them.
_X86 = frozenset({"Q2_K", "Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
_ALL = _X86 | {"Q1_0", "Q5_K", "Q6_K", "Q8_0"}
REPACKED: dict[str, frozenset[str]] = {"x86_64": _X86, "AMD64": _X86, "aarch64": _ALL, "arm64": _ALL}
_REPACK_ROWS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """One context in numbers, nothing left to choose. `sequences` counts places for live and for idle sequences,
    `step_tokens` the tokens of one micro-batch, `outputs` the rows of logits that one step may have."""

    context_length: int
    cache_tokens: int
    sequences: int
    step_tokens: int
    outputs: int
    cache_type_k: CacheType = CacheType.F16
    cache_type_v: CacheType = CacheType.F16
    window_full: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes. `weights_bytes` and `process_bytes` are charged once a child, `context_bytes` once a context."""

    weights_bytes: int
    cache_bytes: int
    compute_bytes: int
    process_bytes: int

    @property
    def context_bytes(self) -> int:
        return self.cache_bytes + self.compute_bytes

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.process_bytes + self.context_bytes


def engine_options(facts: GgufFacts, engine: Engine) -> EngineOptions:
    """What the engine makes of `engine` for these weights: the same choices as its context's shape."""
    kind = memory_class(facts)
    stateful = kind in (MemoryClass.RECURRENT, MemoryClass.HYBRID)
    embeddings = engine.embeddings or kind is MemoryClass.ENCODER
    wanted = DEFAULT_EMBEDDING_CONTEXT if embeddings else DEFAULT_CONTEXT
    reach = wanted if embeddings else min(wanted, engine.cache_tokens or wanted)
    context = engine.context_length or min(facts.context_length or reach, reach)
    parallel = engine.parallel or (4 if stateful else 16)
    sequences = min(MAX_SEQUENCES, 2 * parallel if stateful else parallel + 16)
    cache = context if embeddings else _padded(engine.cache_tokens or 2 * context)
    step = context if embeddings else STEP_TOKENS
    return EngineOptions(
        context_length=context, cache_tokens=cache, sequences=parallel if embeddings else sequences, step_tokens=step,
        outputs=step if embeddings else sequences, cache_type_k=engine.cache_type_k, cache_type_v=engine.cache_type_v,
        window_full=engine.sliding_window_cache is SlidingWindowCache.FULL)


def estimate(header: GgufHeader, options: EngineOptions, *, machine: str = "x86_64") -> Estimate:
    """Bytes for one child with one context. `machine` is platform.machine() of the pod that loads it.

    Layers on a GPU are counted as if they were in the pod's memory."""
    facts = header.facts
    return Estimate(
        weights_bytes=facts.weights_bytes + repacked_bytes(header.tensors, REPACKED.get(machine, _ALL)),
        cache_bytes=_attention_bytes(facts, options) + _recurrent_bytes(facts, options),
        compute_bytes=_compute_bytes(facts, options),
        process_bytes=PROCESS_BYTES + facts.vocabulary * _VOCABULARY_ENTRY_BYTES,
    )


def repacked_bytes(tensors: Iterable[Tensor], types: frozenset[str]) -> int:
    """Bytes of the matrices that get a second, repacked copy: all but the table of token embeddings, unless that
    serves as the output matrix too."""
    known = list(tensors)
    tied = not any(tensor.name == "output.weight" for tensor in known)
    return sum(tensor.size for tensor in known
               if tensor.type.name in types and len(tensor.shape) >= 2 and tensor.shape[1] % _REPACK_ROWS == 0
               and (tied or tensor.name != "token_embd.weight"))


def window_cells(facts: GgufFacts, options: EngineOptions) -> int:
    """Cells of the sliding-window layers' cache."""
    if options.window_full:
        return options.cache_tokens
    wanted = facts.sliding_window * options.sequences + options.step_tokens
    return min(_padded(wanted), _padded(options.cache_tokens))


def _attention_bytes(facts: GgufFacts, options: EngineOptions) -> int:
    layers = list(zip(cached_layers(facts), windowed_layers(facts), facts.head_count_kv, strict=True))
    if not any(cached for cached, *_ in layers):
        return 0
    small = window_cells(facts, options)
    total = 0
    for cached, windowed, heads in layers:
        if not cached:
            continue
        keys = heads * (facts.key_length_swa if windowed else facts.key_length)
        values = 0 if facts.latent_attention else heads * (facts.value_length_swa if windowed else facts.value_length)
        row = _row(keys + facts.indexer_key_length, options.cache_type_k) + _row(values, options.cache_type_v)
        total += row * (small if windowed else options.cache_tokens)
    caches = 2 if any(windowed for _, windowed, _ in layers) else 1
    return total + caches * options.cache_tokens * _CELL_RECORD_BYTES


def _recurrent_bytes(facts: GgufFacts, options: EngineOptions) -> int:
    return sum(recurrent_layers(facts)) * recurrent_state_elements(facts) * 4 * options.sequences


def _compute_bytes(facts: GgufFacts, options: EngineOptions) -> int:
    tokens = min(options.step_tokens, options.cache_tokens)
    layer = tokens * _floats_per_token(facts) * 4
    encoder = memory_class(facts) is MemoryClass.ENCODER
    logits = 0 if encoder else facts.vocabulary * min(options.outputs, tokens) * 4
    hidden = facts.embedding_length * tokens * 4
    peak = max(layer + _mask_bytes(facts, options, tokens), logits + hidden)
    output_rows = max(options.sequences, min(options.outputs, tokens))
    output = (facts.vocabulary + facts.embedding_length) * output_rows * 4
    return peak + output + _COMPUTE_FLOOR_BYTES


def _mask_bytes(facts: GgufFacts, options: EngineOptions, tokens: int) -> int:
    if memory_class(facts) is MemoryClass.ENCODER:
        masks = 2 if facts.sliding_window else 1
        return tokens * tokens * masks * (_MASK_BYTES + 4)
    cells = options.cache_tokens if any(cached_layers(facts)) else 0
    if any(windowed_layers(facts)):
        cells += window_cells(facts, options)
    return cells * tokens * _MASK_BYTES


def _floats_per_token(facts: GgufFacts) -> int:
    """What is alive at once for one token inside a layer: the hidden state and its copies, queries, keys and values
    before and after rotation, the feed-forward net's gate, up and product; or a recurrent layer's projections."""
    heads, heads_kv = max(facts.head_count, default=0), max(facts.head_count_kv, default=0)
    attention = 2 * (heads * facts.key_length + heads_kv * (facts.key_length + facts.value_length))
    forward = max(max(facts.feed_forward_length, default=0), facts.expert_used_count * facts.expert_feed_forward_length)
    state = 8 * facts.ssm_inner_size + 4 * facts.ssm_group_count * facts.ssm_state_size
    experts = facts.expert_count + facts.expert_used_count * facts.embedding_length
    return 4 * facts.embedding_length + attention + 3 * forward + state + experts


def _row(elements: int, kind: CacheType) -> int:
    size, block = _CACHE_TYPES[kind]
    return -(-elements // block) * size


def _padded(cells: int) -> int:
    return -(-cells // CELL_PADDING) * CELL_PADDING
