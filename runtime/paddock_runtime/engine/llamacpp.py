"""llama.cpp as an engine type: how its child is called, and what a Model costs in it. The child is engine/llama."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from paddock_api.canonical import short_hash
from paddock_api.errors import Code, PaddockError
from paddock_api.estimate import engine_options, estimate
from paddock_api.gguf import GgufError, GgufHeader, NeedMoreBytes, combine, parse_header
from paddock_api.model import SlidingWindowCache
from paddock_api.revision import Revision, context_key, weights_key
from paddock_runtime.engine.protocol import ContextOptions, Load
from paddock_runtime.engine.types import Charge, Examined, Files

_FIRST_READ = 1 << 20
_MOST_READ = 256 << 20  # a header larger than this is no header


class LlamaCpp:
    """Implements EngineType."""

    name = "llama.cpp"

    def command(self, fd: int) -> Sequence[str]:
        return [sys.executable, "-m", "paddock_runtime.engine.llama", str(fd)]

    def environment(self) -> dict[str, str]:
        # the child finds our packages where we found them, installed or not
        return {"PYTHONPATH": ":".join(path for path in sys.path if path), "PYTHONUNBUFFERED": "1"}

    def examine(self, files: Files, revision: Revision) -> Examined:
        try:
            header = combine([read_header(path) for path in files.paths])
            engine = revision.spec.engine
            found = estimate(header, engine_options(header.facts, engine), machine=platform.machine())
        except GgufError as error:
            raise PaddockError(Code.INVALID_MODEL_FILE,
                               f"{files.paths[0].name} is not a usable GGUF file: {error}", param="source") from error
        adapters = sum(adapter.size for adapter in files.adapters)
        facts = header.facts
        return Examined(
            charge=Charge(weights_bytes=found.weights_bytes + found.process_bytes,
                          context_bytes=found.context_bytes + adapters),
            architecture=facts.architecture, parameters=facts.parameters, quantization=facts.quantization,
            context_length=facts.context_length, cache_bytes=found.cache_bytes, compute_bytes=found.compute_bytes)

    def weights_key(self, files: Files, revision: Revision) -> str:
        known = revision.resolution.model_copy(update={"sha256": files.digest})
        return weights_key(revision.model_copy(update={"resolution": known}))

    def context_key(self, files: Files, revision: Revision) -> str:
        adapters = [[adapter.digest, adapter.scale] for adapter in files.adapters]
        return short_hash({"context": context_key(revision), "adapters": adapters})

    def load(self, files: Files, revision: Revision, *, threads: int) -> Load:
        return Load(paths=[str(path) for path in files.paths], gpu_layers=revision.spec.engine.gpu_layers,
                    threads=threads)

    def context_options(self, files: Files, revision: Revision) -> ContextOptions:
        engine = revision.spec.engine
        return ContextOptions(
            context_length=engine.context_length or 0, cache_tokens=engine.cache_tokens or 0,
            parallel=engine.parallel or 0, cache_type_k=engine.cache_type_k.lower(),
            cache_type_v=engine.cache_type_v.lower(),
            sliding_window_full=engine.sliding_window_cache is SlidingWindowCache.FULL, embeddings=engine.embeddings,
            pooling="" if engine.pooling is None else engine.pooling.lower(),
            adapters={str(adapter.path): adapter.scale for adapter in files.adapters})


def read_header(path: Path) -> GgufHeader:
    """Reads as much of the file as its header needs. Raises GgufError, PaddockError for a file that can't be read."""
    try:
        with path.open("rb") as file:
            file_size = path.stat().st_size
            wanted = _FIRST_READ
            while True:
                file.seek(0)
                try:
                    return parse_header(file.read(min(wanted, _MOST_READ)), file_size=file_size)
                except NeedMoreBytes as more:
                    if wanted >= min(_MOST_READ, file_size):
                        raise GgufError(f"its header goes on beyond {min(_MOST_READ, file_size)} bytes") from more
                    wanted = max(2 * wanted, more.at_least)
    except OSError as error:
        raise PaddockError(Code.SOURCE_UNAVAILABLE, f"can't read {path}: {error.strerror or error}") from error
