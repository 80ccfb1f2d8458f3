"""Which memory each layer of a model keeps: a KV cache, a window of one, a recurrent state, or none.

Follows llama.cpp 0.3.36's sources: llama-model.cpp (create_memory, load_swa_pattern), llama-arch.cpp (llm_arch_is_*),
llama-hparams.cpp (n_embd_r, n_embd_s, set_swa_pattern). Where a file leaves doubt the larger reading is taken.
"""

from __future__ import annotations

from enum import StrEnum

from paddock_api.gguf import GgufFacts


class MemoryClass(StrEnum):
    """What prefix sharing may do with a model's memory."""

    FULL = "full"
    SLIDING = "sliding"
    RECURRENT = "recurrent"
    HYBRID = "hybrid"
    ENCODER = "encoder"


_RECURRENT = frozenset({"arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"})
_HYBRID = frozenset({
    "bailingmoe3", "deepseek4", "falcon-h1", "glm5-next", "granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2",
    "lfm2moe", "minimax-01", "nemotron_h", "nemotron_h_moe", "plamo2", "qwen35", "qwen35moe", "qwen3next", "qwen4exp",
})
_NO_CACHE = frozenset({
    "bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert", "modern-bert",
    "gemma-embedding", "dream", "llada", "llada-moe", "rnd1",
})
# One full layer in so many, and whether it comes first in its group: used when the file has no pattern of its own.
_PATTERNS: dict[str, tuple[int, bool]] = {
    "afmoe": (4, False), "cohere2": (4, False), "cohere2moe": (4, True), "exaone-moe": (4, False),
    "exaone4": (4, False), "gemma2": (2, False), "gemma3": (6, False), "gemma3n": (5, False), "laguna": (4, True),
    "llama4": (4, False), "mellum": (4, False), "olmo2": (4, False), "gpt-oss": (2, False), "plamo3": (8, False),
    "smallthinker": (4, True),
}
_INTERVALS = {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4, "qwen4exp": 4}


def memory_class(facts: GgufFacts) -> MemoryClass:
    if facts.architecture in _NO_CACHE or not facts.causal:
        return MemoryClass.ENCODER
    if facts.architecture in _RECURRENT:
        return MemoryClass.RECURRENT
    if facts.architecture in _HYBRID:
        return MemoryClass.HYBRID
    return MemoryClass.SLIDING if any(windowed_layers(facts)) else MemoryClass.FULL


def windowed_layers(facts: GgufFacts) -> tuple[bool, ...]:
    """For each block: whether its attention looks only at the window."""
    none = (False,) * facts.block_count
    if facts.sliding_window == 0:
        return none
    pattern = facts.sliding_window_pattern
    if isinstance(pattern, tuple):
        return pattern
    period, dense_first = _PATTERNS.get(facts.architecture, (1, False))
    if facts.architecture not in _PATTERNS:
        return none
    period = period if pattern is None else pattern
    if period == 0:
        return (True,) * facts.block_count
    full = 0 if dense_first else period - 1
    return tuple(block % period != full for block in range(facts.block_count))


def cached_layers(facts: GgufFacts) -> tuple[bool, ...]:
    """For each block: whether it has a KV cache of its own."""
    kind = memory_class(facts)
    if kind in (MemoryClass.ENCODER, MemoryClass.RECURRENT):
        return (False,) * facts.block_count
    own = facts.block_count - facts.shared_kv_layers
    recurrent = recurrent_layers(facts)
    both = facts.architecture == "falcon-h1"
    return tuple(block < own and (both or not recurrent[block]) for block in range(facts.block_count))


def recurrent_layers(facts: GgufFacts) -> tuple[bool, ...]:
    """For each block: whether it has a recurrent state."""
    kind = memory_class(facts)
    if kind is MemoryClass.RECURRENT or facts.architecture == "falcon-h1":
        return (True,) * facts.block_count
    if kind is not MemoryClass.HYBRID:
        return (False,) * facts.block_count
    if 0 in facts.head_count_kv:
        return tuple(heads == 0 for heads in facts.head_count_kv)
    interval = facts.full_attention_interval or _INTERVALS.get(facts.architecture)
    if interval is None:
        return (True,) * facts.block_count
    return tuple((block + 1) % interval != 0 for block in range(facts.block_count))


def recurrent_state_elements(facts: GgufFacts) -> int:
    """Float32 numbers that one layer keeps for one sequence: the convolution's history and the state."""
    if facts.wkv_head_size:
        return facts.embedding_length * (facts.token_shift_count + facts.wkv_head_size)
    if facts.shortconv_cache:
        return facts.embedding_length * max(facts.shortconv_cache - 1, 0)
    history = max(facts.ssm_conv_kernel - 1, 0)
    if facts.kda_head_dim:
        heads = max(facts.head_count, default=0)
        return 3 * (history or 3) * heads * facts.kda_head_dim + heads * facts.kda_head_dim**2
    width = facts.ssm_inner_size + 2 * facts.ssm_group_count * facts.ssm_state_size
    return history * width + facts.ssm_state_size * facts.ssm_inner_size
