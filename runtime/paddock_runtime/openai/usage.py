"""The usage of a request, out of the usage of its choices."""

from __future__ import annotations

from typing import Any

from paddock_runtime.engine.protocol import Usage


class UsageTotal:
    """The prompt counts once. Of its cached tokens only those count that no choice had to compute."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self._choices = 0

    def add(self, usage: Usage) -> None:
        self.cached_tokens = min(self.cached_tokens, usage.cached_tokens) if self._choices else usage.cached_tokens
        self.prompt_tokens = usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self._choices += 1

    def body(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }
