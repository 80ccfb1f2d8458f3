"""llama.cpp's own grammar code in a subprocess, so that what crashes it fails one test and not the session.

`verdicts(grammars)`: which it takes. `matches(model, grammar, texts)`: which texts a grammar lets a model write.
As a program: one job as JSON on stdin, the answer as JSON on stdout.
"""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

MEMORY_BYTES = 4 << 30
SECONDS = 120


def verdicts(grammars: list[str], *, model: Path | None = None) -> list[bool]:
    """True where llama.cpp took the grammar. With a model it also writes some tokens by it."""
    found = _run({"model": str(model) if model else None, "grammars": grammars})
    return [bool(verdict) for verdict in found]


def matches(model: Path, grammar: str, texts: list[str]) -> list[bool]:
    """True where the grammar allows each token of the text in turn, and then the end."""
    found = _run({"model": str(model), "grammars": [grammar], "texts": texts})
    return [bool(verdict) for verdict in found]


def _run(job: dict[str, Any]) -> list[Any]:
    done = subprocess.run([sys.executable, __file__], input=json.dumps(job), text=True, capture_output=True,
                          timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise AssertionError(f"llama.cpp ended with {done.returncode}: {done.stderr[-2000:]}")
    answer: list[Any] = json.loads(done.stdout)
    return answer


class _Native:
    def __init__(self, model: str | None) -> None:
        import llama_cpp

        self.lib: Any = llama_cpp
        self.vocabulary = None
        if model:
            self._silence = llama_cpp.llama_log_callback(lambda level, text, data: None)  # kept: native code holds it
            llama_cpp.llama_log_set(self._silence, ctypes.c_void_p(0))
            parameters = llama_cpp.llama_model_default_params()
            parameters.vocab_only = True
            self._model: Any = llama_cpp.llama_model_load_from_file(model.encode(), parameters)
            self.vocabulary = llama_cpp.llama_model_get_vocab(self._model)

    def sampler(self, grammar: str) -> Any:
        return self.lib.llama_sampler_init_grammar(self.vocabulary, grammar.encode(), b"root")

    def allowed(self, sampler: Any, tokens: list[int]) -> list[int]:
        data = (self.lib.llama_token_data * len(tokens))(*((token, 0.0, 0.0) for token in tokens))
        self.lib.llama_sampler_apply(
            sampler, ctypes.byref(self.lib.llama_token_data_array(data, len(tokens), -1, False)))
        return [entry.id for entry in data if entry.logit == 0.0]

    def walk(self, sampler: Any) -> None:
        for _ in range(8):
            allowed = self.allowed(sampler, list(range(200, 2200)))
            if not allowed:
                return
            self.lib.llama_sampler_accept(sampler, allowed[len(allowed) // 2])

    def accepts(self, sampler: Any, text: str) -> bool:
        data = text.encode()
        room = (self.lib.llama_token * (len(data) + 8))()
        count = self.lib.llama_tokenize(self.vocabulary, data, len(data), room, len(room), False, False)
        for token in [*room[:count], self.lib.llama_vocab_eos(self.vocabulary)]:
            if not self.allowed(sampler, [token]):
                return False
            self.lib.llama_sampler_accept(sampler, token)
        return True


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    job = json.load(sys.stdin)
    native = _Native(job["model"])
    answers = []
    for grammar in job["grammars"]:
        for text in job.get("texts", [None]):
            sampler = native.sampler(grammar)
            verdict = bool(sampler)
            if sampler and text is not None:
                verdict = native.accepts(sampler, text)
            elif sampler and native.vocabulary:
                native.walk(sampler)
            if sampler:
                native.lib.llama_sampler_free(sampler)
            answers.append(verdict)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
