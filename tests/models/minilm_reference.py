"""all-MiniLM-L6-v2 by hand: WordPiece and BERT in numpy, from the package's own files, to hold the GGUF against."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.models.convert_minilm import package

Vector = NDArray[np.float64]
Weights = dict[str, Any]


def word_pieces(text: str) -> list[int]:
    ids = {word: index for index, word in enumerate((package() / "vocab.txt").read_text("utf-8").splitlines())}
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(character for character in plain if unicodedata.category(character) != "Mn")
    found = [ids["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", plain):
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next(end for end in range(len(word), start, -1) if prefix + word[start:end] in ids)
            found.append(ids[prefix + word[start:end]])
            start = end
    return [*found, ids["[SEP]"]]


def bert(tokens: list[int]) -> Vector:
    """The mean of the last hidden states, in float64."""
    weights = {name: values.astype(np.float64) for name, values in load_file(package() / "model.safetensors").items()
               if values.dtype != np.int64}
    table = weights["embeddings.word_embeddings.weight"][tokens]
    places = weights["embeddings.position_embeddings.weight"][: len(tokens)]
    hidden = _norm(weights, "embeddings.LayerNorm",
                   table + places + weights["embeddings.token_type_embeddings.weight"][0])
    for layer in range(6):
        hidden = _bert_layer(weights, f"encoder.layer.{layer}", hidden)
    mean: Vector = hidden.mean(axis=0)
    return mean


def _bert_layer(weights: Weights, name: str, hidden: Any) -> Any:
    heads = 12

    def project(part: str) -> Any:
        return _linear(weights, f"{name}.attention.self.{part}", hidden).reshape(len(hidden), heads, -1).swapaxes(0, 1)

    query, key, value = project("query"), project("key"), project("value")
    scores = query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1])
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed = (scores @ value).swapaxes(0, 1).reshape(len(hidden), -1)
    hidden = _norm(weights, f"{name}.attention.output.LayerNorm",
                   hidden + _linear(weights, f"{name}.attention.output.dense", mixed))
    inner = _linear(weights, f"{name}.intermediate.dense", hidden)
    inner *= 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    return _norm(weights, f"{name}.output.LayerNorm", hidden + _linear(weights, f"{name}.output.dense", inner))


def _linear(weights: Weights, name: str, values: Any) -> Any:
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, values: Any) -> Any:
    centred = values - values.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
