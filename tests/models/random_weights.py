"""Tiny models with random F32 weights, one for each class of memory. Same arguments, same bytes.

They talk nonsense, but sure of it: logits are spread wide (a standard deviation of about 4), so the next token does
not hang on rounding, and control tokens (end of text among them) all but never come by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType

from tests.models.vocabulary import Vocabulary, byte_level, sentencepiece

CONTEXT = 8192
WINDOW = 64  # of the sliding-window model, in tokens
EMBEDDING, HEADS, KV_HEADS, HEAD, FEED_FORWARD = 64, 2, 1, 32, 128
STATE, CONVOLUTION, STEP_RANK, INNER = 16, 4, 4, 2 * EMBEDDING
_LOGIT_SPREAD = 4.0


class Weights:
    """A GGUF under construction, with one stream of random numbers."""

    def __init__(self, path: Path, architecture: str, layers: int, seed: int, vocabulary: Vocabulary) -> None:
        self.writer = GGUFWriter(path, architecture)
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.layers = layers
        self.writer.add_name(f"random {architecture} {seed}")
        self.writer.add_file_type(LlamaFileType.ALL_F32)
        self.writer.add_context_length(CONTEXT)
        self.writer.add_embedding_length(EMBEDDING)
        self.writer.add_block_count(layers)
        self.writer.add_layer_norm_rms_eps(1e-5)
        self.writer.add_vocab_size(len(vocabulary.tokens))
        vocabulary.write(self.writer)
        self._ends(vocabulary)

    def _ends(self, vocabulary: Vocabulary) -> None:
        size = len(vocabulary.tokens)
        self.put("token_embd.weight", self.random.normal(0, 1, (size, EMBEDDING)))
        head = self.random.normal(0, _LOGIT_SPREAD / EMBEDDING**0.5, (size, EMBEDDING))
        head[vocabulary.rare] *= 0.25  # mostly readable text, and yet a byte of UTF-8 now and then
        head[vocabulary.control] = 0
        self.put("output.weight", head)
        self.ones("output_norm.weight", EMBEDDING)

    def put(self, name: str, values: np.ndarray) -> None:
        self.writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))

    def ones(self, name: str, size: int) -> None:
        self.put(name, np.ones(size))

    def linear(self, name: str, inputs: int, outputs: int, gain: float = 1.0) -> None:
        self.put(name, self.random.normal(0, gain / inputs**0.5, (outputs, inputs)))

    def save(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def attention(weights: Weights, layer: str) -> None:
    weights.ones(f"{layer}.attn_norm.weight", EMBEDDING)
    # A gain above one lets a head prefer some cells: far tokens then matter to the answer.
    weights.linear(f"{layer}.attn_q.weight", EMBEDDING, HEADS * HEAD, gain=1.5)
    weights.linear(f"{layer}.attn_k.weight", EMBEDDING, KV_HEADS * HEAD, gain=1.5)
    weights.linear(f"{layer}.attn_v.weight", EMBEDDING, KV_HEADS * HEAD)
    weights.linear(f"{layer}.attn_output.weight", HEADS * HEAD, EMBEDDING)


def feed_forward(weights: Weights, layer: str) -> None:
    weights.ones(f"{layer}.ffn_norm.weight", EMBEDDING)
    weights.linear(f"{layer}.ffn_gate.weight", EMBEDDING, FEED_FORWARD)
    weights.linear(f"{layer}.ffn_up.weight", EMBEDDING, FEED_FORWARD)
    weights.linear(f"{layer}.ffn_down.weight", FEED_FORWARD, EMBEDDING)


def state_space(weights: Weights, layer: str) -> None:
    """A Mamba block: decay rates -1 … -STATE and time steps of 0.001 … 0.1, as the real ones are initialised."""
    weights.ones(f"{layer}.attn_norm.weight", EMBEDDING)
    weights.linear(f"{layer}.ssm_in.weight", EMBEDDING, 2 * INNER)
    weights.put(f"{layer}.ssm_conv1d.weight", weights.random.normal(0, 0.5, (INNER, CONVOLUTION)))
    weights.put(f"{layer}.ssm_conv1d.bias", np.zeros(INNER))
    weights.linear(f"{layer}.ssm_x.weight", INNER, STEP_RANK + 2 * STATE)
    weights.linear(f"{layer}.ssm_dt.weight", STEP_RANK, INNER)
    steps = np.exp(weights.random.uniform(np.log(0.001), np.log(0.1), INNER))
    weights.put(f"{layer}.ssm_dt.bias", np.log(np.expm1(steps)))
    weights.put(f"{layer}.ssm_a", -np.tile(np.arange(1, STATE + 1), (INNER, 1)))
    weights.ones(f"{layer}.ssm_d", INNER)
    weights.linear(f"{layer}.ssm_out.weight", INNER, EMBEDDING)


def _attention_facts(weights: Weights, kv_heads: int | Sequence[int] = KV_HEADS) -> None:
    weights.writer.add_head_count(HEADS)
    weights.writer.add_head_count_kv(kv_heads)
    weights.writer.add_feed_forward_length(FEED_FORWARD)


def _state_space_facts(weights: Weights) -> None:
    weights.writer.add_ssm_conv_kernel(CONVOLUTION)
    weights.writer.add_ssm_inner_size(INNER)
    weights.writer.add_ssm_state_size(STATE)
    weights.writer.add_ssm_time_step_rank(STEP_RANK)


def full(path: Path, seed: int = 0) -> None:
    """Full attention: the llama architecture, two layers."""
    weights = Weights(path, "llama", 2, seed, sentencepiece())
    _attention_facts(weights)
    weights.writer.add_rope_dimension_count(HEAD)
    for index in range(weights.layers):
        attention(weights, f"blk.{index}")
        feed_forward(weights, f"blk.{index}")
    weights.save()


def sliding(path: Path, seed: int = 0) -> None:
    """Sliding window: the gemma3 architecture, three windowed layers before each full one."""
    weights = Weights(path, "gemma3", 4, seed, sentencepiece())
    _attention_facts(weights)
    weights.writer.add_key_length(HEAD)
    weights.writer.add_value_length(HEAD)
    weights.writer.add_sliding_window(WINDOW)
    weights.writer.add_sliding_window_pattern([True, True, True, False])
    for index in range(weights.layers):
        layer = f"blk.{index}"
        attention(weights, layer)
        weights.ones(f"{layer}.attn_q_norm.weight", HEAD)
        weights.ones(f"{layer}.attn_k_norm.weight", HEAD)
        weights.ones(f"{layer}.post_attention_norm.weight", EMBEDDING)
        feed_forward(weights, layer)
        weights.ones(f"{layer}.post_ffw_norm.weight", EMBEDDING)
    weights.save()


def recurrent(path: Path, seed: int = 0) -> None:
    """Recurrent: the mamba architecture, three layers."""
    weights = Weights(path, "mamba", 3, seed, byte_level())
    weights.writer.add_head_count(0)
    weights.writer.add_feed_forward_length(0)
    _state_space_facts(weights)
    for index in range(weights.layers):
        state_space(weights, f"blk.{index}")
    weights.save()


def hybrid(path: Path, seed: int = 0) -> None:
    """Hybrid: the jamba architecture, state-space layers with one of attention among them."""
    kinds = [state_space, attention, state_space, state_space]
    weights = Weights(path, "jamba", len(kinds), seed, byte_level())
    _attention_facts(weights, [KV_HEADS if kind is attention else 0 for kind in kinds])
    _state_space_facts(weights)
    for index, kind in enumerate(kinds):
        layer = f"blk.{index}"
        kind(weights, layer)
        if kind is state_space:
            weights.ones(f"{layer}.ssm_dt_norm.weight", STEP_RANK)
            weights.ones(f"{layer}.ssm_b_norm.weight", STATE)
            weights.ones(f"{layer}.ssm_c_norm.weight", STATE)
        feed_forward(weights, layer)
    weights.save()


KINDS: dict[str, Callable[[Path, int], None]] = {
    "full": full, "sliding": sliding, "recurrent": recurrent, "hybrid": hybrid,
}
