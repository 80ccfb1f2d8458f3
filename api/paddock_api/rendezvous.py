"""Rendezvous order: every gateway ranks a Model's pods alike, without a word between them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from paddock_api.identity import ModelId


def order(model: ModelId, pods: Iterable[str]) -> list[str]:
    """`pods`, most preferred first (highest random weight). A pod that comes or goes moves only what it wins or had."""
    return sorted(set(pods), key=lambda pod: (_weight(model, pod), pod), reverse=True)


def _weight(model: ModelId, pod: str) -> bytes:
    # NUL is in no name, so different pairs never give the same text.
    return hashlib.sha256(f"{pod}\0{model}".encode()).digest()
