"""The engine-type seam: all that the lifecycle asks of a kind of engine. Nothing above it knows llama.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paddock_api.revision import Revision
from paddock_runtime.engine.protocol import ContextOptions, Load


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """Bytes that a load will take: `weights_bytes` once a child (its own overhead included), `context_bytes` for
    each context. Rather too much than too little: a child that exceeds its charge is ended."""

    weights_bytes: int
    context_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What a file's header says: what a load will take, and what the model is. `context_length`: trained for.
    `cache_bytes` and `compute_bytes` are the parts of the charge for a context that are its cache and its buffers."""

    charge: Charge
    architecture: str
    parameters: int
    quantization: str | None = None
    context_length: int | None = None
    cache_bytes: int = 0
    compute_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterFile:
    """`size` in bytes."""

    path: Path
    digest: str
    size: int
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """A Model's files on this machine: shards in order, the digest that names their content, and its adapters."""

    paths: tuple[Path, ...]
    digest: str
    adapters: tuple[AdapterFile, ...] = ()


class EngineType(Protocol):
    """One kind of engine. Implementations hold no state."""

    @property
    def name(self) -> str: ...

    def command(self, fd: int) -> Sequence[str]:
        """The command line of a child that speaks the protocol on the inherited descriptor `fd`."""
        ...

    def environment(self) -> dict[str, str]:
        """What the child finds in its environment beyond ours."""
        ...

    def examine(self, files: Files, revision: Revision) -> Examined:
        """Reads the file's header: call it off the event loop.

        Raises PaddockError INVALID_MODEL_FILE or UNSUPPORTED_MODEL."""
        ...

    def weights_key(self, files: Files, revision: Revision) -> str:
        """Equal keys: one child can serve both revisions."""
        ...

    def context_key(self, files: Files, revision: Revision) -> str:
        """Equal keys: both revisions can share one context."""
        ...

    def load(self, files: Files, revision: Revision, *, threads: int) -> Load: ...

    def context_options(self, files: Files, revision: Revision) -> ContextOptions: ...
