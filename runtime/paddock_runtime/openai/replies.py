"""The answer of a request that is not streamed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from paddock_runtime.engine.protocol import PositionLogprobs
from paddock_runtime.jobs import Text
from paddock_runtime.openai.logprobs import chat_logprobs, text_logprobs
from paddock_runtime.openai.usage import UsageTotal


class _Choice:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.logprobs: list[PositionLogprobs] = []
        self.finish: str | None = None


class Reply(ABC):
    """Gathers the deltas of `choices` sequences."""

    kind: str

    def __init__(self, *, id: str, model: str, created: int, choices: int) -> None:
        self.usage = UsageTotal()
        self._id, self._model, self._created = id, model, created
        self._choices = [_Choice() for _ in range(choices)]

    def add(self, output: Text) -> None:
        choice, delta = self._choices[output.choice], output.delta
        choice.texts.append(delta.text)
        if delta.logprobs:
            choice.logprobs += delta.logprobs
        if delta.finish is not None:
            choice.finish = delta.finish
        if delta.usage is not None:
            self.usage.add(delta.usage)

    def body(self, revision: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": self.kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": revision,
            "choices": [{"index": index, **self._content("".join(choice.texts), choice.logprobs),
                         "finish_reason": choice.finish} for index, choice in enumerate(self._choices)],
            "usage": self.usage.body(),
        }

    @abstractmethod
    def _content(self, text: str, logprobs: list[PositionLogprobs]) -> dict[str, Any]: ...


class ChatReply(Reply):
    kind = "chat.completion"

    def _content(self, text: str, logprobs: list[PositionLogprobs]) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": chat_logprobs(logprobs) if logprobs else None}


class CompletionReply(Reply):
    kind = "text_completion"

    def _content(self, text: str, logprobs: list[PositionLogprobs]) -> dict[str, Any]:
        return {"text": text, "logprobs": text_logprobs(logprobs, 0) if logprobs else None}
