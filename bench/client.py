"""The load: one lean client, the same code for both sides.

Raw asyncio protocols, no HTTP library, JSON parsed only where it says something new: on two cores a client that works
for each token would be part of what is measured. Its own share of a core is reported with every measurement.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.sse import ProtocolError, ResponseParser

REQUEST_TIMEOUT = 600.0


class InvalidReply(Exception):
    """The answer is not what was asked for, so the run can't be compared."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a model answers."""

    port: int
    model: str


@dataclass(frozen=True, slots=True)
class Request:
    prompt: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """Times are seconds of time.perf_counter; `first` is the first byte of text, not of the headers."""

    sent: float
    first: float
    ended: float
    prompt_tokens: int
    completion_tokens: int

    @property
    def ttft(self) -> float:
        return self.first - self.sent


def encode(request: Request, model: str) -> bytes:
    """Equal work on both sides: greedy, of a fixed length whatever the model would say, with usage at the end."""
    body = json.dumps({"model": model, "prompt": request.prompt, "max_tokens": request.tokens, "temperature": 0,
                       "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}).encode()
    return http("POST", "/v1/completions", body)


def http(method: str, path: str, body: bytes = b"") -> bytes:
    return (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode() + body


class _Exchange(asyncio.Protocol):
    """One request on one connection; `finished` resolves when the response is complete or broken."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.parser = ResponseParser()
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first: float | None = None
        self.usage: dict[str, int] | None = None
        self.complete = False
        self.error: str | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.parser.feed(data):
                self._event(event)
        except (ProtocolError, ValueError) as error:
            self.error = str(error)
            self._finish()
            return
        if self.parser.done:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            self.parser.eof()
        except ProtocolError as error:
            self.error = self.error or str(exc or error)
        self._finish()

    def _event(self, event: bytes) -> None:
        if event == b"[DONE]":
            self.complete = True
        elif b'"error":' in event:
            self.error = event.decode(errors="replace")[:400]
        elif self.first is None or b'"usage":{' in event or b'"usage": {' in event:
            self._read(json.loads(event))

    def _read(self, chunk: dict[str, object]) -> None:
        choices = chunk.get("choices")
        if self.first is None and isinstance(choices, list) and choices and choices[0].get("text"):
            self.first = time.perf_counter()
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.usage = usage

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)
        if self._transport is not None:
            self._transport.close()


async def _exchange(port: int, payload: bytes, seconds: float) -> _Exchange:
    async with asyncio.timeout(seconds):
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: _Exchange(payload), "127.0.0.1", port)
        await protocol.finished
    return protocol


async def complete(target: Target, request: Request) -> Reply:
    """Stream one completion. Raises InvalidReply unless it has exactly the tokens that were asked for."""
    sent = time.perf_counter()
    try:
        done = await _exchange(target.port, encode(request, target.model), REQUEST_TIMEOUT)
    except (OSError, TimeoutError) as error:
        raise InvalidReply(f"{type(error).__name__}: {error}") from error
    ended = time.perf_counter()
    if done.error or done.parser.status != 200 or not done.complete:
        detail = done.error or done.parser.body[:400].decode(errors="replace") or "no [DONE]"
        raise InvalidReply(f"HTTP {done.parser.status}: {detail}")
    if done.first is None or done.usage is None:
        raise InvalidReply("the stream carried " + ("no usage" if done.first else "no text"))
    if done.usage["completion_tokens"] != request.tokens:
        raise InvalidReply(f"{done.usage['completion_tokens']} tokens instead of {request.tokens}")
    return Reply(sent, done.first, ended, done.usage["prompt_tokens"], done.usage["completion_tokens"])


async def call(port: int, method: str, path: str, seconds: float = 30.0, body: bytes = b"") -> tuple[int, bytes]:
    """A plain request: (status, body). Raises OSError, TimeoutError."""
    done = await _exchange(port, http(method, path, body), seconds)
    if done.error:
        raise ConnectionError(done.error)
    return done.parser.status, bytes(done.parser.body)


async def closed_loop(target: Target, workers: Sequence[Sequence[Request]]) -> list[Reply]:
    """Each worker sends its requests one after the other; all workers at once. Raises InvalidReply."""

    async def work(requests: Sequence[Request]) -> list[Reply]:
        return [await complete(target, request) for request in requests]

    tasks = [asyncio.create_task(work(requests)) for requests in workers]
    try:
        return [reply for replies in await asyncio.gather(*tasks) for reply in replies]
    finally:
        for task in tasks:
            task.cancel()
