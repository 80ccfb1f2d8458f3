"""The sampler options of a request: OpenAI's, and llama.cpp's beside them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from paddock_api.model import Defaults
from paddock_runtime.engine.protocol import Sampling
from paddock_runtime.openai.fields import Fields, show

_NUMBERS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "repeat_penalty": (0.01, 2),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "dry_multiplier": (0, 100),
    "dry_base": (0, 100),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
}
# A last_n of -1 is the whole context.
_INTEGERS: dict[str, tuple[int, int]] = {
    "top_k": (-1, 1_000_000),
    "repeat_last_n": (-1, 65536),
    "dry_allowed_length": (0, 65536),
    "dry_penalty_last_n": (-1, 65536),
}
_MAX_BIASES = 1024
_MAX_TOKEN_ID = 2**31 - 1
# llama.cpp takes 2^32 - 1 for "seed me by chance": no seed that a client gives may become that.
_SEEDS = 2**32 - 1
_OF_DEFAULTS = frozenset(Sampling.__struct_fields__) & frozenset(Defaults.model_fields)


def read_sampling(fields: Fields) -> Mapping[str, Any]:
    """What the request sets of `Sampling`. Raises PaddockError INVALID_REQUEST."""
    given: dict[str, Any] = {name: fields.number(name, low, high) for name, (low, high) in _NUMBERS.items()}
    given |= {name: fields.integer(name, low, high) for name, (low, high) in _INTEGERS.items()}
    breakers = fields.texts("dry_sequence_breakers", count=64, most=64, least=1)
    given["dry_sequence_breakers"] = None if breakers is None else tuple(breakers)
    given["seed"] = _seed(fields)
    given["ignore_eos"] = fields.flag("ignore_eos")
    given["logit_bias"] = _logit_bias(fields)
    if given["top_k"] == -1:
        given["top_k"] = 0
    return MappingProxyType({name: value for name, value in given.items() if value is not None})


def merge(given: Mapping[str, Any], defaults: Defaults) -> Sampling:
    """The request's options over the Model's defaults over the engine's."""
    values = {name: getattr(defaults, name) for name in _OF_DEFAULTS}
    return Sampling(**{**{name: value for name, value in values.items() if value is not None}, **given})


def _seed(fields: Fields) -> int | None:
    seed = fields.integer("seed", -(2**63), 2**63 - 1)
    return None if seed is None else seed % _SEEDS


def _logit_bias(fields: Fields) -> dict[int, float] | None:
    table = fields.table("logit_bias")
    if table is None:
        return None
    entries = table.items()
    if len(entries) > _MAX_BIASES:
        raise fields.wrong("logit_bias", f"may hold at most {_MAX_BIASES} tokens, not {len(entries)}")
    biases: dict[int, float] = {}
    for key, _ in entries:
        if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= _MAX_TOKEN_ID):
            raise fields.wrong("logit_bias", f"keys must be token ids such as \"1234\", not {show(key)}")
        bias = table.number(key, -100, 100)
        if bias is not None:
            biases[int(key)] = bias
    return biases
