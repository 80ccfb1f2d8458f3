"""The events of a streamed answer. This is the hot path: what is constant is built once, a token encodes its text."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from paddock_api.errors import PaddockError
from paddock_runtime.engine.protocol import Delta
from paddock_runtime.jobs import Text
from paddock_runtime.openai.logprobs import chat_logprobs, text_logprobs
from paddock_runtime.openai.usage import UsageTotal

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def error_event(error: PaddockError) -> bytes:
    """How a stream that has begun says that it failed. No `[DONE]` follows."""
    return b"data: " + _encode(error.body()) + b"\n\n"


class Chunks(ABC):
    """Turns the deltas of `choices` sequences into server-sent events."""

    kind: str

    def __init__(self, *, id: str, model: str, created: int, choices: int, include_usage: bool) -> None:
        self.usage = UsageTotal()
        self._id, self._model, self._created = id, model, created
        self._include_usage = include_usage
        self._choices = choices
        self._tail = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"
        self._head = b""
        self._heads: list[bytes] = []

    def begin(self, revision: str) -> None:
        """Must come before the first text; `revision` becomes the system_fingerprint."""
        constant = _encode({"id": self._id, "object": self.kind, "created": self._created, "model": self._model,
                            "system_fingerprint": revision})
        self._head = b"data: " + constant[:-1] + b',"choices":['
        self._heads = [self._head + b'{"index":%d,' % choice for choice in range(self._choices)]

    @property
    def begun(self) -> bool:
        return bool(self._heads)

    def text(self, output: Text) -> bytes:
        """The events of one delta; empty when it brings nothing that a client could see."""
        delta = output.delta
        if delta.usage is not None:
            self.usage.add(delta.usage)
        return self._events(output.choice, delta)

    def end(self) -> bytes:
        """After the last choice ended."""
        if not self._include_usage:
            return DONE
        return self._head + b'],"usage":' + _encode(self.usage.body()) + b"}\n\n" + DONE

    @abstractmethod
    def _events(self, choice: int, delta: Delta) -> bytes: ...


class ChatChunks(Chunks):
    kind = "chat.completion.chunk"

    def begin(self, revision: str) -> None:
        super().begin(revision)
        self._content = [head + b'"delta":{"content":' for head in self._heads]
        self._content_tail = b'},"logprobs":null,"finish_reason":null' + self._tail
        self._roles: list[bytes] = [
            head + b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null' + self._tail
            for head in self._heads]

    def _events(self, choice: int, delta: Delta) -> bytes:
        event = self._roles[choice]
        self._roles[choice] = b""
        if delta.logprobs:
            event += (self._content[choice] + _encode(delta.text) + b'},"logprobs":'
                      + _encode(chat_logprobs(delta.logprobs)) + b',"finish_reason":null' + self._tail)
        elif delta.text:
            event += self._content[choice] + _encode(delta.text) + self._content_tail
        if delta.finish is not None:
            event += (self._heads[choice] + b'"delta":{},"logprobs":null,"finish_reason":' + _encode(delta.finish)
                      + self._tail)
        return event


class CompletionChunks(Chunks):
    kind = "text_completion"

    def begin(self, revision: str) -> None:
        super().begin(revision)
        self._texts = [head + b'"text":' for head in self._heads]
        self._text_tail = b',"logprobs":null,"finish_reason":null' + self._tail
        self._offsets = [0] * self._choices

    def _events(self, choice: int, delta: Delta) -> bytes:
        if delta.finish is None and not delta.logprobs:
            if not delta.text:
                return b""
            self._offsets[choice] += len(delta.text)
            return self._texts[choice] + _encode(delta.text) + self._text_tail
        logprobs = text_logprobs(delta.logprobs, self._offsets[choice]) if delta.logprobs else None
        self._offsets[choice] += len(delta.text)
        return (self._texts[choice] + _encode(delta.text) + b',"logprobs":' + _encode(logprobs)
                + b',"finish_reason":' + _encode(delta.finish) + self._tail)
