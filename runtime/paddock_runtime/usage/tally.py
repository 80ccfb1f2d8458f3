"""The tokens of one request, as its engine tells of them; right for one that was cancelled half-way too."""

from __future__ import annotations

from paddock_runtime.engine.protocol import Delta, Embedded, Started
from paddock_runtime.usage.ledger import Tokens


class Tally:
    """The prompt counts once for all choices. Of its cached tokens only those count that no choice had to compute."""

    def __init__(self) -> None:
        self._prompt = self._completion = 0
        self._cached: int | None = None

    def started(self, report: Started) -> None:
        self._prompt = report.prompt_tokens
        self._cached = report.cached_tokens if self._cached is None else min(self._cached, report.cached_tokens)

    def delta(self, delta: Delta) -> None:
        self._completion += delta.tokens

    def embedded(self, report: Embedded) -> None:
        self._prompt = report.tokens

    @property
    def tokens(self) -> Tokens:
        return Tokens(self._prompt, self._cached or 0, self._completion)
