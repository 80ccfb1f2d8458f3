"""Tiny GGUF headers for tests, written by the gguf package or by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np


def write_tiny(path: Path, *, more: Callable[[gguf.GGUFWriter], None] | None = None) -> bytes:
    """A two-block llama with every kind of metadata value, as a whole file."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv([2, 1])
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q8_0))
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_chat_template("{{ messages }}")
    writer.add_token_list([f"token-{number}" for number in range(50)])
    writer.add_token_scores([0.5] * 50)
    writer.add_bool("test.bool", True)
    writer.add_int8("test.int8", -3)
    writer.add_uint64("test.uint64", 2**64 - 1)
    writer.add_float64("test.float64", 0.25)
    writer.add_array("test.bools", [True, False])
    if more is not None:
        more(writer)
    writer.add_tensor("token_embd.weight", np.ones((50, 64), np.float32))
    writer.add_tensor("output_norm.weight", np.ones(64, np.float16))
    quantised = gguf.quants.quantize(np.ones((64, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_q.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ARCHITECTURE = pair("general.architecture", 8, text("llama"))


def header(*, pairs: tuple[bytes, ...] = (ARCHITECTURE,), tensors: tuple[bytes, ...] = (), version: int = 3,
           magic: bytes = b"GGUF", counts: tuple[int, int] | None = None) -> bytes:
    tensor_count, pair_count = counts or (len(tensors), len(pairs))
    return magic + struct.pack("<IQQ", version, tensor_count, pair_count) + b"".join(pairs) + b"".join(tensors)
