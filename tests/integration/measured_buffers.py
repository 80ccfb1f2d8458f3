"""A child for test_estimates.py: loads a model, opens one context for each set of options, prints what llama.cpp logs.

Arguments: the model's path, a JSON list of {cells, sequences, step, outputs, cache, full, embeddings}.
Prints a JSON object: weights and for each context its buffers, in bytes. With embeddings the output buffer grows when
it is used, and no line tells of it: there `grown` is the growth of the process (PSS) once a full batch was computed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import llama_cpp

_BUFFER = re.compile(r"(model|KV|RS|compute|output) buffer size =\s+([\d.]+) MiB")
_TYPES = {"F32": 0, "F16": 1, "Q8_0": 8, "BF16": 30}
_lines: list[str] = []


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator,unused-ignore]
def _keep(_level: int, text: bytes, _data: Any) -> None:
    _lines.append(text.decode("utf-8", "replace"))


def _buffers() -> dict[str, int]:
    found: dict[str, int] = {}
    for match in _BUFFER.finditer("".join(_lines)):
        found[match[1]] = found.get(match[1], 0) + round(float(match[2]) * (1 << 20))
    _lines.clear()
    return found


def _pss() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def _compute(context: Any, tokens: int) -> None:
    batch = llama_cpp.llama_batch_init(tokens, 0, 1)
    batch.n_tokens = tokens
    for index in range(tokens):
        batch.token[index], batch.pos[index], batch.logits[index] = 5 + index, index, 1
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit("".join(_lines))
    llama_cpp.llama_batch_free(batch)


def _context(model: Any, options: dict[str, Any]) -> dict[str, int]:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max = options["cells"], options["sequences"]
    params.n_batch = params.n_ubatch = options["step"]
    params.n_outputs_max = options["outputs"]
    params.type_k = params.type_v = _TYPES[options["cache"]]
    params.kv_unified, params.swa_full, params.embeddings = True, options["full"], options["embeddings"]
    before = _pss()
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("".join(_lines))
    buffers = _buffers()
    if options["embeddings"]:
        _compute(context, options["step"])
        buffers["grown"] = _pss() - before
    llama_cpp.llama_free(context)
    return buffers


def main() -> None:
    llama_cpp.llama_log_set(_keep, None)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit("".join(_lines))
    weights = _buffers()
    contexts = [_context(model, options) for options in json.loads(sys.argv[2])]
    print(json.dumps({"weights": weights["model"], "contexts": contexts}))


if __name__ == "__main__":
    main()
