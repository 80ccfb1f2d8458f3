"""A client of the gateway's streams that sees every byte and when it came."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import httpx

from tests.integration.gateway.kit import DEADLINE, Gateway

HI = [{"role": "user", "content": "hi"}]


def ask(gateway: Gateway, model: str, **fields: Any) -> httpx.Response:
    """One whole answer."""
    body = {"model": model, "messages": HI, **fields}
    return httpx.post(f"{gateway.url}/v1/chat/completions", timeout=DEADLINE, json=body)


def code_of(response: httpx.Response) -> str:
    """The code of an error, whose shape is OpenAI's."""
    error = response.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    code: str = error["code"]
    return code


class Stream:
    """A streamed answer, read in a thread of its own. `done` is over when the stream is, however it ended."""

    def __init__(self, gateway: Gateway, model: str) -> None:
        self.lines: list[str] = []
        self.headers: httpx.Headers | None = None
        self.status = 0
        self.error: Exception | None = None
        self.began = time.monotonic()
        self.headers_after = 0.0
        self.done = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(gateway, model), daemon=True)
        self._thread.start()

    def wait(self) -> Stream:
        assert self.done.wait(DEADLINE)
        return self

    def leave(self) -> None:
        """Closes the connection with the next byte that comes."""
        self._stop.set()

    @property
    def data(self) -> list[str]:
        return [line.removeprefix("data: ") for line in self.lines if line.startswith("data: ")]

    @property
    def comments(self) -> list[str]:
        return [line.removeprefix(": ") for line in self.lines if line.startswith(": ")]

    @property
    def text(self) -> str:
        return "".join(part["choices"][0]["delta"].get("content", "") for part in self._objects() if "choices" in part)

    @property
    def failure(self) -> dict[str, Any] | None:
        """The error event; nothing may follow it."""
        found = [part["error"] for part in self._objects() if "error" in part]
        assert len(found) <= 1
        if not found:
            return None
        assert "error" in json.loads(self.data[-1])
        failure: dict[str, Any] = found[0]
        return failure

    @property
    def complete(self) -> bool:
        return bool(self.data) and self.data[-1] == "[DONE]"

    def _objects(self) -> Iterator[dict[str, Any]]:
        for line in list(self.data):
            if line != "[DONE]":
                yield json.loads(line)

    def _read(self, gateway: Gateway, model: str) -> None:
        body = {"model": model, "messages": HI, "stream": True}
        try:
            with (httpx.Client(timeout=DEADLINE) as client,
                  client.stream("POST", f"{gateway.url}/v1/chat/completions", json=body) as response):
                self.headers_after = time.monotonic() - self.began
                self.status, self.headers = response.status_code, response.headers
                for line in response.iter_lines():
                    if line:
                        self.lines.append(line)
                    if self._stop.is_set():
                        return
        except httpx.HTTPError as error:
            self.error = error
        finally:
            self.done.set()


def many(count: int, gateway: Gateway, model: str) -> list[Future[httpx.Response]]:
    """Whole answers, all asked at once."""
    pool = ThreadPoolExecutor(count + 1)
    body = {"model": model, "messages": HI}
    client = httpx.Client(timeout=DEADLINE, limits=httpx.Limits(max_connections=count))
    futures = [pool.submit(client.post, f"{gateway.url}/v1/chat/completions", json=body) for _ in range(count)]
    pool.submit(_close_after, client, futures)
    pool.shutdown(wait=False)
    return futures


def _close_after(client: httpx.Client, futures: Sequence[Future[httpx.Response]]) -> None:
    """Connections that nobody closes are found by the garbage collector, in whatever test runs then."""
    wait(futures)
    client.close()
