"""Renders chat templates: a small pool of workers that may be killed at any time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from paddock_api.errors import Code, PaddockError
from paddock_runtime.render import worker
from paddock_runtime.render.messages import plain_messages
from paddock_runtime.render.process import Ended, Limits, Process

MAX_TEMPLATE_BYTES = 64 << 10
MAX_REQUEST_BYTES = 64 << 20
MAX_WAITING = 256


class Renderer:
    """Starts its workers when they are first needed, or in `start`."""

    def __init__(self, *, workers: int = 1, cpu_seconds: float = 2.0, memory_bytes: int = 256 << 20,
                 output_bytes: int = 4 << 20) -> None:
        self._limits = Limits(cpu_seconds=cpu_seconds, memory_bytes=memory_bytes, output_bytes=output_bytes)
        self._places = asyncio.Semaphore(workers)
        self._workers = workers
        self._waiting = 0
        self._idle: list[Process] = []
        self._busy: set[Process] = set()
        self._closed = asyncio.Event()

    async def start(self) -> None:
        """Have all workers ready. Raises PaddockError INTERNAL if they can't be started."""
        while len(self._idle) + len(self._busy) < self._workers and not self._closed.is_set():
            async with self._places:
                self._idle.append(await self._spawn())

    async def close(self) -> None:
        """End all workers; a render that waits or runs fails with DRAINING."""
        self._closed.set()
        processes = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(process.kill() for process in processes))

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in [*self._idle, *self._busy]]

    async def render(
        self, template: str, *, messages: list[dict[str, Any]], bos_token: str, eos_token: str, add_bos: bool,
        add_generation_prompt: bool = True, variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt. `add_bos`: the tokenizer will put BOS before it, so the text does not begin with one.

        Raises PaddockError TEMPLATE_FAILED (what the template says by raise_exception, or the limit that it broke),
        UNSUPPORTED for other than text, QUEUE_FULL when too many wait.
        """
        request = _encoded({"template": template, "variables": {
            **_defaults(), **(variables or {}), "messages": plain_messages(messages),
            "bos_token": bos_token, "eos_token": eos_token, "add_generation_prompt": add_generation_prompt,
        }})
        text = self._read(await self._ask(request))
        return text.removeprefix(bos_token) if add_bos else text

    async def check(self, template: str) -> None:
        """Whether it is a template at all. Raises PaddockError TEMPLATE_FAILED, QUEUE_FULL."""
        self._read(await self._ask(_encoded({"template": template})))

    async def _ask(self, request: bytes) -> bytes:
        if self._waiting >= MAX_WAITING:
            raise PaddockError(Code.QUEUE_FULL, f"{MAX_WAITING} requests wait for their chat template: try again later",
                               retry_after=1)
        self._waiting += 1
        try:
            async with self._places:
                return await self._ask_worker(request)
        finally:
            self._waiting -= 1

    async def _ask_worker(self, request: bytes) -> bytes:
        process = await self._take()
        healthy = False
        try:
            answer = await process.ask(request)
            healthy = answer[:1] != worker.OVER_MEMORY
            return answer
        except Ended as ended:
            if self._closed.is_set():
                raise _draining() from None
            raise _failed(f"The chat template was stopped: {ended.reason}.") from None
        finally:  # also when the caller gave up: a worker in the middle of something is not reused
            self._busy.discard(process)
            if healthy and not self._closed.is_set():
                self._idle.append(process)
            else:
                await process.kill()

    async def _take(self) -> Process:
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                break
            await process.kill()
        else:
            process = await self._spawn()
        self._busy.add(process)
        return process

    async def _spawn(self) -> Process:
        if self._closed.is_set():
            raise _draining()
        try:
            process = await Process.start(self._limits)
        except (Ended, TimeoutError, OSError) as error:
            raise PaddockError(Code.INTERNAL, f"The template renderer did not start: {error}", retry_after=5) from error
        if self._closed.is_set():
            await process.kill()
            raise _draining()
        return process

    def _read(self, answer: bytes) -> str:
        kind, text = answer[:1], answer[1:].decode("utf-8", "replace")
        if kind == worker.TEXT:
            return text
        if kind == worker.REFUSED:
            raise _failed(f"The chat template refuses these messages: {text}")
        if kind == worker.OVER_MEMORY:
            raise _failed(f"The chat template was stopped: it used more than {self._limits.memory_bytes >> 20} MiB.")
        if kind == worker.OVER_OUTPUT:
            raise _failed(f"The chat template makes a prompt of more than {self._limits.output_bytes:,} bytes: "
                          "send less text.")
        raise _failed(f"The chat template can't be rendered: {text}")


def _defaults() -> dict[str, Any]:
    """What llama-server sets besides, and some templates test for."""
    today = datetime.now().astimezone()
    return {"enable_thinking": True, "date_string": today.strftime("%d %b %Y"), "datetime": today.strftime("%b %d %Y")}


def _encoded(job: dict[str, Any]) -> bytes:
    if len(job["template"].encode("utf-8", "surrogatepass")) > MAX_TEMPLATE_BYTES:
        raise _failed(f"The chat template is over the limit of {MAX_TEMPLATE_BYTES:,} bytes.")
    try:
        request = json.dumps(job).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _failed(f"messages and chat_template_kwargs must be JSON: {error}") from None
    if len(request) > MAX_REQUEST_BYTES:
        raise _failed(f"The messages are over the limit of {MAX_REQUEST_BYTES:,} bytes.")
    return request


def _failed(message: str) -> PaddockError:
    return PaddockError(Code.TEMPLATE_FAILED, message, param="messages")


def _draining() -> PaddockError:
    return PaddockError(Code.DRAINING, "This pod is stopping: try again.", retry_after=1)
