"""What a source stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from paddock_api.gguf import GgufHeader
from paddock_api.revision import Resolution
from paddock_api.status import ModelFacts


class Pin(Protocol):
    """What was resolved before, as far as it is still known."""

    @property
    def resolution(self) -> Resolution: ...
    @property
    def header(self) -> GgufHeader | None: ...


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """`header`: what estimates are made from, over all shards; None for what only the pods can read."""

    resolution: Resolution
    facts: ModelFacts
    header: GgufHeader | None = None


def facts_of(resolution: Resolution, file: str, header: GgufHeader | None) -> ModelFacts:
    """What a status says of the file, which people know as `file`."""
    facts = ModelFacts(commit=resolution.commit, file=file, sha256=resolution.sha256, size_bytes=resolution.size)
    if header is None:
        return facts
    found = header.facts
    return facts.model_copy(update={
        "architecture": _plain(found.architecture) or None, "parameters": found.parameters,
        "quantization": found.quantization, "context_length": found.context_length})


def _plain(text: str) -> str:
    """A text from a file of strangers, fit for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
