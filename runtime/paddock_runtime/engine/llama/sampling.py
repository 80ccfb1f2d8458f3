"""One request's choice of tokens: llama.cpp's sampler chain, with short cuts that choose the same."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from paddock_runtime.engine.llama.context import Floats
from paddock_runtime.engine.llama.native import lib
from paddock_runtime.engine.llama.weights import Weights
from paddock_runtime.engine.protocol import Sampling

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_SHORTCUT_TOP_K = 256  # above this, choosing the candidates costs more than the chain itself
_MOST_RETRIES = 64

Candidates = npt.NDArray[Any]


class GrammarFailed(Exception):
    """llama.cpp would not take a grammar that had passed the checks."""


def candidates_of(row: Floats) -> Candidates:
    """The whole vocabulary as llama.cpp's candidates."""
    candidates = np.zeros(len(row), _CANDIDATE)
    candidates["id"] = np.arange(len(row), dtype=np.int32)
    candidates["logit"] = row
    return candidates


def top_candidates(row: Floats, count: int) -> Candidates:
    """The `count` likeliest tokens (more if they tie), likeliest first.

    The maxima of blocks give a bound that at least `count` tokens reach; only blocks that reach it are searched:
    one pass over the row instead of building and sorting a quarter of a million candidates.
    """
    block = 256
    whole = len(row) // block * block
    blocks = row[:whole].reshape(-1, block)
    if len(blocks) <= count:
        ids = np.argpartition(row, -count)[-count:] if count < len(row) else np.arange(len(row))
    else:
        maxima = blocks.max(axis=1)
        bound = np.partition(maxima, -count)[-count]
        chosen = np.flatnonzero(maxima >= bound)
        inner, column = np.nonzero(blocks[chosen] >= bound)
        ids = chosen[inner] * block + column
        if whole < len(row):
            ids = np.concatenate([ids, whole + np.flatnonzero(row[whole:] >= bound)])
    values = row[ids]
    order = np.argsort(-values, kind="stable")[:count]
    candidates = np.zeros(len(order), _CANDIDATE)
    candidates["id"] = ids[order]
    candidates["logit"] = values[order]
    return candidates


class Sampler:
    """Owns native objects: `close` frees them. Raises GrammarFailed from the constructor."""

    def __init__(self, weights: Weights, options: Sampling, *, grammar: str | None = None) -> None:
        self._weights = weights
        self._options = options
        self._greedy = options.temperature <= 0
        history = (options.repeat_penalty != 1.0 or options.presence_penalty != 0.0 or options.frequency_penalty != 0.0
                   ) and options.repeat_last_n != 0
        self._history = history or options.dry_multiplier > 0
        self._few = not self._history and 0 < options.top_k <= _SHORTCUT_TOP_K
        self._bias_ids = np.array(list(options.logit_bias), np.int64)
        self._bias = np.array(list(options.logit_bias.values()), np.float32)
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        self._grammar = None
        self._add_all(options)
        if grammar is not None:
            self._grammar = lib.llama_sampler_init_grammar(weights.vocab, grammar.encode(), b"root")
            if not self._grammar:
                self.close()
                raise GrammarFailed("llama.cpp could not parse the grammar")

    def _add_all(self, options: Sampling) -> None:
        """llama.cpp's customary order: penalties, DRY, top-k, typical, top-p, min-p, XTC, temperature, draw."""
        seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "little")
        if self._history and options.repeat_last_n != 0:
            reach = options.repeat_last_n if options.repeat_last_n > 0 else self._weights.trained_context
            self._add(lib.llama_sampler_init_penalties(
                self._weights.vocabulary, reach, options.repeat_penalty, options.frequency_penalty,
                options.presence_penalty))
        if options.dry_multiplier > 0:
            breakers = [text.encode() for text in options.dry_sequence_breakers]
            array = (ctypes.c_char_p * len(breakers))(*breakers)
            self._add(lib.llama_sampler_init_dry(
                self._weights.vocab, options.dry_multiplier, options.dry_base, options.dry_allowed_length,
                options.dry_penalty_last_n, array, len(breakers)))
        if self._greedy:
            self._add(lib.llama_sampler_init_greedy())
            return
        if options.top_k > 0:
            self._add(lib.llama_sampler_init_top_k(options.top_k))
        if options.typical_p < 1.0:
            self._add(lib.llama_sampler_init_typical(options.typical_p, 1))
        if options.top_p < 1.0:
            self._add(lib.llama_sampler_init_top_p(options.top_p, 1))
        if options.min_p > 0.0:
            self._add(lib.llama_sampler_init_min_p(options.min_p, 1))
        if options.xtc_probability > 0.0:
            self._add(lib.llama_sampler_init_xtc(options.xtc_probability, options.xtc_threshold, 1, seed))
        self._add(lib.llama_sampler_init_temp(options.temperature))
        self._add(lib.llama_sampler_init_dist(seed))

    def _add(self, sampler: Any) -> None:
        lib.llama_sampler_chain_add(self._chain, sampler)

    def prime(self, tokens: list[int]) -> None:
        """Let the penalties see the prompt's end, as llama-server does."""
        if not self._history:
            return
        options = self._options
        everything = (options.dry_multiplier > 0 and options.dry_penalty_last_n < 0) or options.repeat_last_n < 0
        reach = len(tokens) if everything else max(options.repeat_last_n, options.dry_penalty_last_n)
        for token in tokens[max(0, len(tokens) - reach):]:
            lib.llama_sampler_accept(self._chain, token)

    def choose(self, row: Floats) -> int:
        """The next token from a row of logits, which this call may change."""
        if len(self._bias):
            row[self._bias_ids] += self._bias
        token = self._allowed(row)
        if self._options.ignore_eos:
            for _ in range(_MOST_RETRIES):
                if not self._weights.ends(token):
                    break
                row[token] = -np.inf
                token = self._allowed(row)
        if self._grammar:
            lib.llama_sampler_accept(self._grammar, token)
        if self._history:
            lib.llama_sampler_accept(self._chain, token)
        return token

    def _allowed(self, row: Floats) -> int:
        """Draw first, ask the grammar then: most draws are fine, and asking about one token is cheap."""
        token = self._draw(row)
        if not self._grammar or self._grammar_takes(token):
            return token
        candidates = candidates_of(row)
        self._apply(self._grammar, candidates)
        return self._apply_chain(candidates[candidates["logit"] > -np.inf])

    def _draw(self, row: Floats) -> int:
        if self._greedy and not self._history:
            return int(row.argmax())
        if self._few:
            return self._apply_chain(top_candidates(row, self._options.top_k), is_sorted=True)
        return self._apply_chain(candidates_of(row))

    def _grammar_takes(self, token: int) -> bool:
        one = np.zeros(1, _CANDIDATE)
        one["id"] = token
        one["logit"] = 1.0
        self._apply(self._grammar, one)
        return bool(one["logit"][0] > -np.inf)

    def _apply_chain(self, candidates: Candidates, *, is_sorted: bool = False) -> int:
        if not len(candidates):  # the grammar allows nothing more
            return self._end_token()
        selected, data = self._apply(self._chain, candidates, is_sorted=is_sorted)
        return int(data[selected].id)

    def _end_token(self) -> int:
        return int(lib.llama_vocab_eos(self._weights.vocab))

    @staticmethod
    def _apply(sampler: Any, candidates: Candidates, *, is_sorted: bool = False) -> tuple[int, Any]:
        pointer = ctypes.cast(candidates.ctypes.data, lib.llama_token_data_p)
        array = lib.llama_token_data_array(data=pointer, size=len(candidates), selected=-1, sorted=is_sorted)
        lib.llama_sampler_apply(sampler, ctypes.byref(array))
        return array.selected, array.data

    def close(self) -> None:
        if self._chain:
            lib.llama_sampler_free(self._chain)
            self._chain = None
        if self._grammar:
            lib.llama_sampler_free(self._grammar)
            self._grammar = None
