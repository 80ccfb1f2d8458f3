"""The test models themselves: each one is loaded and run by llama.cpp, and is what its name says."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray

from tests import models
from tests.models import cache, random_weights
from tests.models.minilm_reference import bert, word_pieces

TEXT = 'the thing in there: {"a": [1, 2]} é 漢字 😀\n\tend'
QUESTION = "Question: What is the capital of France?\nAnswer:"
SENTENCES = [
    "A llama stands in the paddock.",
    "The stock market fell sharply on Tuesday, unbelievably!",
    "Crème brûlée isn't antidisestablishmentarianism.",
]
CLASSES = {  # recurrent, hybrid, window
    "full": (False, False, 0), "sliding": (False, False, random_weights.WINDOW),
    "recurrent": (True, False, 0), "hybrid": (False, True, 0),
}

# What sentence-transformers 6.2.0 says of the first sentence: its vector's first numbers.
KNOWN = [0.03252, 0.04823, -0.05467, -0.05248, 0.01298, 0.04897]

Vector = NDArray[np.float32]


class Loaded:
    """One model, in this process, on one thread."""

    def __init__(self, path: Path) -> None:
        self.model = llama_cpp.llama_model_load_from_file(
            os.fsencode(path), llama_cpp.llama_model_default_params())
        assert self.model, f"{path} does not load"
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def tokens(self, text: str) -> list[int]:
        data = text.encode()
        buffer = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), buffer, len(buffer), True, True)
        assert count > 0
        return list(buffer[:count])

    def text(self, tokens: list[int]) -> bytes:
        pieces = bytearray()
        for token in tokens:
            piece = ctypes.create_string_buffer(64)
            length = llama_cpp.llama_token_to_piece(self.vocab, token, piece, len(piece), 0, False)
            assert length >= 0
            pieces += piece.raw[:length]
        return bytes(pieces)

    @contextmanager
    def context(self, **options: Any) -> Iterator[Any]:
        params = llama_cpp.llama_context_default_params()
        options = {"n_ctx": 2048, "n_batch": 2048, "n_threads": 1, "n_threads_batch": 1, **options}
        for name, value in options.items():
            setattr(params, name, value)
        context = llama_cpp.llama_init_from_model(self.model, params)
        assert context
        try:
            yield context
        finally:
            llama_cpp.llama_free(context)

    def logits(self, tokens: list[int]) -> Vector:
        with self.context() as context:
            _decode(context, tokens)
            size = llama_cpp.llama_vocab_n_tokens(self.vocab)
            return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), (size,)).copy()

    def embedding(self, text: str) -> Vector:
        with self.context(n_ctx=512, n_batch=512, n_ubatch=512, embeddings=True) as context:
            _decode(context, self.tokens(text))
            size = llama_cpp.llama_model_n_embd(self.model)
            return np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_seq(context, 0), (size,)).copy()


def _decode(context: Any, tokens: list[int]) -> None:
    array = (llama_cpp.llama_token * len(tokens))(*tokens)
    assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) == 0


@contextmanager
def loaded(path: Path) -> Iterator[Loaded]:
    model = Loaded(path)
    try:
        yield model
    finally:
        llama_cpp.llama_model_free(model.model)


@pytest.mark.parametrize("kind", sorted(random_weights.KINDS))
def test_random_model_has_its_memory_class_and_writes_every_text(kind: str) -> None:
    with loaded(models._random(kind, 0)) as model:
        handle = model.model
        found = (
            llama_cpp.llama_model_is_recurrent(handle),
            llama_cpp.llama_model_is_hybrid(handle),
            llama_cpp.llama_model_n_swa(handle),
        )
        assert found == CLASSES[kind]
        assert llama_cpp.llama_model_n_ctx_train(handle) >= 4096
        assert llama_cpp.llama_model_chat_template(handle, None)
        tokens = model.tokens(TEXT)
        assert model.text(tokens).decode() == TEXT
        assert len(tokens) < len(TEXT.encode()), "some tokens are longer than a byte"


@pytest.mark.parametrize("kind", sorted(random_weights.KINDS))
def test_random_model_depends_on_far_tokens_and_seldom_stops(kind: str) -> None:
    with loaded(models._random(kind, 0)) as model:
        tokens = (model.tokens(TEXT) * 60)[:1500]
        logits = model.logits(tokens)
        other = model.logits([tokens[0], tokens[1], tokens[1], *tokens[3:]])
        assert np.isfinite(logits).all()
        assert np.abs(logits - other).max() > 1e-5, "the third token still matters 1500 tokens later"
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        assert chances[llama_cpp.llama_vocab_eos(model.vocab)] < 1e-3
        assert np.array_equal(logits, model.logits(tokens))


def test_seeds_make_different_files_and_the_same_seed_the_same(tmp_path: Path, tiny: Callable[[int], Path]) -> None:
    digests = {hashlib.sha256(tiny(n).read_bytes()).hexdigest() for n in range(50)}
    assert len(digests) == 50
    again = tmp_path / "again.gguf"
    random_weights.full(again, 1007)
    assert again.read_bytes() == tiny(7).read_bytes()
    with loaded(tiny(49)) as model:
        assert np.isfinite(model.logits(model.tokens("hello"))).all()


def test_gemma_knows_paris(gemma: Path) -> None:
    with loaded(gemma) as model:
        best = int(model.logits(model.tokens(QUESTION)).argmax())
        assert model.text([best]) == b" Paris"
        assert llama_cpp.llama_model_n_swa(model.model) > 0
        assert llama_cpp.llama_model_chat_template(model.model, None) is None


def test_requantised_gemma_is_another_file_that_still_knows(gemma: Path, gemma_q8: Path) -> None:
    assert gemma_q8.stat().st_size > gemma.stat().st_size
    with loaded(gemma_q8) as model:
        best = int(model.logits(model.tokens(QUESTION)).argmax())
        assert model.text([best]) == b" Paris"


@pytest.mark.parametrize("sentence", SENTENCES)
def test_minilm_embeds_as_the_packaged_weights_do(sentence: str, minilm: Path) -> None:
    with loaded(minilm) as model:
        tokens = word_pieces(sentence)
        assert model.tokens(sentence) == tokens
        assert cosine(model.embedding(sentence), bert(tokens)) > 0.999


def test_minilm_agrees_with_sentence_transformers(minilm: Path) -> None:
    with loaded(minilm) as model:
        vector = model.embedding(SENTENCES[0])
        vector /= np.linalg.norm(vector)
        np.testing.assert_allclose(vector[:6], KNOWN, atol=2e-3)


def test_a_failed_build_leaves_nothing_and_a_later_one_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def half(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.cached("model", "key", half)
    assert not list(cache.root().glob("*.gguf"))
    assert not list(cache.root().glob(".*.partial"))
    builds: list[Path] = []

    def whole(path: Path) -> None:
        builds.append(path)
        path.write_bytes(b"whole")

    assert cache.cached("model", "key", whole).read_bytes() == b"whole"
    assert cache.cached("model", "key", whole).read_bytes() == b"whole"
    assert len(builds) == 1


def cosine(left: NDArray[Any], right: NDArray[Any]) -> float:
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))
