"""`POST /v1/embeddings`: texts or token ids to vectors."""

from __future__ import annotations

import base64
import sys
from array import array
from dataclasses import dataclass
from typing import Any

from paddock_api.errors import Code, PaddockError
from paddock_runtime.jobs import EmbedWork, Served, Vectors
from paddock_runtime.openai.completions import check_tokens, is_tokens
from paddock_runtime.openai.fields import Fields, show
from paddock_runtime.openai.generation import read_model

MAX_INPUTS = 2048


@dataclass(frozen=True, kw_only=True)
class EmbeddingRequest:
    model: str
    inputs: list[str | list[int]]
    base64: bool
    dimensions: int | None


def read_embedding(body: dict[str, Any]) -> EmbeddingRequest:
    """Raises PaddockError INVALID_REQUEST that names the field."""
    fields = Fields(body)
    return EmbeddingRequest(
        model=read_model(fields),
        inputs=_inputs(fields),
        base64=fields.choice("encoding_format", "float", "base64") == "base64",
        dimensions=fields.integer("dimensions", 1, 1_000_000),
    )


def embed_work(request: EmbeddingRequest, served: Served) -> EmbedWork:
    """Raises PaddockError INVALID_REQUEST or UNSUPPORTED when this Model can't."""
    facts = served.facts
    if facts.memory_class != "encoder" and not served.revision.spec.engine.embeddings:
        raise PaddockError(Code.INVALID_REQUEST, f"{request.model} makes text, not embeddings: ask a Model with "
                           "spec.engine.embeddings: true", param="model")
    if request.dimensions not in (None, facts.embedding_length):
        raise PaddockError(Code.UNSUPPORTED, f"dimensions must be {facts.embedding_length}, the length of "
                           f"{request.model}'s vectors, or left out", param="dimensions")
    return EmbedWork(inputs=request.inputs)


def embedding_reply(request: EmbeddingRequest, output: Vectors) -> dict[str, Any]:
    encode = _as_base64 if request.base64 else _as_floats
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": encode(vector)}
                 for index, vector in enumerate(output.vectors)],
        "model": request.model,
        "usage": {"prompt_tokens": output.tokens, "total_tokens": output.tokens},
    }


def _as_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def _as_floats(vector: bytes) -> list[float]:
    values = array("f", vector)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def _inputs(fields: Fields) -> list[str | list[int]]:
    value = fields.get("input")
    if value is None:
        raise fields.wrong("input", "is missing: give a string or a list of strings")
    items = [value] if isinstance(value, str) or is_tokens(value) else value
    if not isinstance(items, list) or not items:
        raise fields.wrong("input", f"must be a string, a list of strings or token ids, not {show(value)}")
    if len(items) > MAX_INPUTS:
        raise fields.wrong("input", f"may hold at most {MAX_INPUTS} inputs, not {len(items)}")
    return [_input(fields, f"input[{index}]", item) for index, item in enumerate(items)]


def _input(fields: Fields, name: str, item: Any) -> str | list[int]:
    if is_tokens(item):
        return check_tokens(fields, name, item)
    if not isinstance(item, str):
        raise fields.wrong(name, f"must be a string or a list of token ids, not {show(item)}")
    if not item:
        raise fields.wrong(name, "must not be empty")
    return item
