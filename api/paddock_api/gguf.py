"""What a GGUF file says of itself: facts for memory estimates, status and the choice of an engine.

Pure: it reads bytes that the caller has. With `NeedMoreBytes` a caller fetches only the header, by range requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from paddock_api.gguf_read import (
    GgufError,
    NeedMoreBytes,
    RawHeader,
    SkippedArray,
    Tensor,
    Value,
    read_raw,
)
from paddock_api.gguf_types import FILE_TYPES

__all__ = ["GgufError", "GgufFacts", "GgufHeader", "NeedMoreBytes", "Tensor", "combine",
           "parse_header"]

MAX_BLOCKS = 1024
_MAX_LENGTH = 1 << 31
_MAX_ARCHITECTURE = 64
_POOLING = {0: "None", 1: "Mean", 2: "CLS", 3: "Last", 4: "Rank"}

_T = TypeVar("_T", bool, int)


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFacts:
    """Lengths count elements, `weights_bytes` bytes. Per-layer values: one item a block. None: the file is silent."""

    architecture: str
    name: str | None
    parameters: int
    weights_bytes: int
    quantization: str | None
    context_length: int | None
    embedding_length: int
    block_count: int
    feed_forward_length: tuple[int, ...]
    head_count: tuple[int, ...]
    head_count_kv: tuple[int, ...]
    key_length: int
    value_length: int
    key_length_swa: int
    value_length_swa: int
    latent_attention: bool
    indexer_key_length: int
    shared_kv_layers: int
    sliding_window: int
    sliding_window_pattern: int | tuple[bool, ...] | None
    full_attention_interval: int | None
    ssm_conv_kernel: int
    ssm_inner_size: int
    ssm_state_size: int
    ssm_group_count: int
    wkv_head_size: int
    token_shift_count: int
    shortconv_cache: int
    kda_head_dim: int
    vocabulary: int
    pooling: str | None
    causal: bool
    chat_template: str | None
    expert_count: int
    expert_used_count: int
    expert_feed_forward_length: int
    split_no: int
    split_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """`data_offset`: where in the file the tensor data starts; `end`: the least size of the file, both in bytes."""

    version: int
    facts: GgufFacts
    tensors: tuple[Tensor, ...]
    alignment: int
    data_offset: int
    end: int


def parse_header(data: bytes | bytearray | memoryview, *, file_size: int | None = None) -> GgufHeader:
    """The header at the start of `data`. `file_size` (bytes), when known, tells a truncated file from a partial read.

    Raises GgufError (the file is unusable, with the reason) and NeedMoreBytes, nothing else."""
    raw = read_raw(data, file_size=file_size)
    return GgufHeader(version=raw.version, facts=_facts(raw), tensors=raw.tensors, alignment=raw.alignment,
                      data_offset=raw.data_offset, end=raw.end)


def combine(shards: Sequence[GgufHeader]) -> GgufHeader:
    """One header for a file in shards (all of them, in order): the first shard's facts, all shards' tensors.

    Offsets of the tensors stay those within their shard. Raises GgufError."""
    first = shards[0]
    numbers = [shard.facts.split_no for shard in shards]
    if len(shards) != max(first.facts.split_count, 1) or numbers != list(range(len(shards))):
        raise GgufError(f"the shards {numbers} are not the {max(first.facts.split_count, 1)} that the first one counts")
    facts = replace(first.facts, parameters=sum(shard.facts.parameters for shard in shards),
                    weights_bytes=sum(shard.facts.weights_bytes for shard in shards))
    return replace(first, facts=facts, tensors=tuple(tensor for shard in shards for tensor in shard.tensors))


class _Fields:
    """Typed access to metadata; a key that is there with another type or an absurd value is an error."""

    def __init__(self, values: dict[str, Value], prefix: str) -> None:
        self._values = values
        self._prefix = prefix

    def text(self, key: str) -> str | None:
        value = self._values.get(key)
        if value is not None and not isinstance(value, str):
            raise GgufError(f"the metadata value {key!r} is not a text")
        return value

    def number(self, key: str, default: int = 0, limit: int = _MAX_LENGTH) -> int:
        value = self._get(key, default)
        if isinstance(value, tuple) and value:
            value = max(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise GgufError(f"the metadata value {self._prefix + key!r} is not a whole number")
        return _bounded(self._prefix + key, value, limit)

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise GgufError(f"the metadata value {self._prefix + key!r} is not true or false")
        return value

    def has(self, key: str) -> bool:
        return self._prefix + key in self._values

    def per_layer(self, key: str, blocks: int, default: tuple[int, ...]) -> tuple[int, ...]:
        value = self._get(key, default)
        if isinstance(value, int) and not isinstance(value, bool):
            return (_bounded(self._prefix + key, value, _MAX_LENGTH),) * blocks
        return self._listed(key, value, blocks, int)

    def pattern(self, key: str, blocks: int) -> int | tuple[bool, ...] | None:
        value = self._get(key, None)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return _bounded(self._prefix + key, value, MAX_BLOCKS)
        return self._listed(key, value, blocks, bool)

    def _listed(self, key: str, value: Value | None, blocks: int, kind: type[_T]) -> tuple[_T, ...]:
        name = self._prefix + key
        if not isinstance(value, tuple) or len(value) < blocks:
            raise GgufError(f"the metadata value {name!r} does not have one item for each of {blocks} blocks")
        items: list[_T] = []
        for item in value[:blocks]:
            if isinstance(item, float) or (kind is int and isinstance(item, bool)):
                raise GgufError(f"the metadata value {name!r} holds items of a wrong type")
            items.append(kind(_bounded(name, int(item), _MAX_LENGTH)))
        return tuple(items)

    def _get(self, key: str, default: Value | None) -> Value | None:
        return self._values.get(self._prefix + key, default)


def _bounded(name: str, value: int, limit: int) -> int:
    if not 0 <= value <= limit:
        raise GgufError(f"the metadata value {name!r} is {value}; between 0 and {limit} is possible")
    return value


def _facts(raw: RawHeader) -> GgufFacts:
    general = _Fields(raw.values, "")
    split_no, split_count = general.number("split.no", limit=65_535), general.number("split.count", limit=65_535)
    architecture = general.text("general.architecture")
    if architecture is None and split_no == 0:
        raise GgufError("the metadata value 'general.architecture' is missing")
    if len(architecture or "") > _MAX_ARCHITECTURE:
        raise GgufError(f"the metadata value 'general.architecture' is longer than {_MAX_ARCHITECTURE} characters")
    own = _Fields(raw.values, f"{architecture}.")
    blocks = own.number("block_count", limit=MAX_BLOCKS)
    embedding = own.number("embedding_length")
    heads = own.per_layer("attention.head_count", blocks, (0,) * blocks)
    most_heads = max(heads, default=0)
    head_length = embedding // most_heads if most_heads else 0
    key_length = own.number("attention.key_length", head_length)
    value_length = own.number("attention.value_length", head_length)
    return GgufFacts(
        architecture=architecture or "", name=general.text("general.name"),
        parameters=sum(tensor.elements for tensor in raw.tensors),
        weights_bytes=sum(tensor.size for tensor in raw.tensors),
        quantization=_quantization(general, raw.tensors),
        context_length=own.number("context_length") if own.has("context_length") else None,
        embedding_length=embedding, block_count=blocks,
        feed_forward_length=own.per_layer("feed_forward_length", blocks, (0,) * blocks),
        head_count=heads, head_count_kv=own.per_layer("attention.head_count_kv", blocks, heads),
        key_length=key_length, value_length=value_length,
        key_length_swa=own.number("attention.key_length_swa", key_length),
        value_length_swa=own.number("attention.value_length_swa", value_length),
        latent_attention=own.has("attention.key_length_mla"),
        indexer_key_length=own.number("attention.indexer.key_length"),
        shared_kv_layers=own.number("attention.shared_kv_layers", limit=MAX_BLOCKS),
        sliding_window=own.number("attention.sliding_window"),
        sliding_window_pattern=own.pattern("attention.sliding_window_pattern", blocks),
        full_attention_interval=own.number("full_attention_interval", limit=MAX_BLOCKS) or None,
        ssm_conv_kernel=own.number("ssm.conv_kernel"), ssm_inner_size=own.number("ssm.inner_size"),
        ssm_state_size=own.number("ssm.state_size"), ssm_group_count=own.number("ssm.group_count"),
        wkv_head_size=own.number("wkv.head_size"), token_shift_count=own.number("token_shift_count", 2),
        shortconv_cache=own.number("shortconv.l_cache"), kda_head_dim=own.number("kda.head_dim"),
        vocabulary=_vocabulary(raw.values, own), pooling=_POOLING.get(own.number("pooling_type", 99)),
        causal=own.flag("attention.causal", True), chat_template=general.text("tokenizer.chat_template"),
        expert_count=own.number("expert_count"), expert_used_count=own.number("expert_used_count"),
        expert_feed_forward_length=own.number("expert_feed_forward_length"),
        split_no=split_no, split_count=split_count,
    )


def _vocabulary(values: dict[str, Value], own: _Fields) -> int:
    tokens = values.get("tokenizer.ggml.tokens")
    return tokens.length if isinstance(tokens, SkippedArray) else own.number("vocab_size")


def _quantization(general: _Fields, tensors: tuple[Tensor, ...]) -> str | None:
    """What the file says, else the type that most of its bytes have."""
    named = FILE_TYPES.get(general.number("general.file_type", 9999))
    if named is not None or not tensors:
        return named
    weight: Counter[str] = Counter()
    for tensor in tensors:
        weight[tensor.type.name] += tensor.size
    return weight.most_common(1)[0][0]
