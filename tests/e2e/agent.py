"""Runs inside of the cluster: makes HTTP requests, all at once, and prints what came.

In, on standard input: one line, a JSON list of {method, url, headers, json | text, timeout, read_lines, pause_after}.
Out, per request: {status, headers, text, seconds} or {error, seconds}; with `read_lines` also lines [[seconds, line]…],
and it leaves after that many (0: stays). With `pause_after` a request reads so many lines, then none until standard
input brings one more line; when all that pause have got there, a line `paused` is printed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httpx


class Pause:
    """Where requests wait for each other, and for the word to go on."""

    def __init__(self, pausing: int) -> None:
        self._left, self._going_on = pausing, asyncio.Event()

    async def here(self) -> None:
        self.reached()
        await self._going_on.wait()

    def reached(self) -> None:
        self._left -= 1
        if self._left == 0:
            print("paused", flush=True)

    async def until_told(self) -> None:
        await asyncio.to_thread(sys.stdin.readline)
        self._going_on.set()


async def main() -> None:
    asked: list[dict[str, Any]] = json.loads(sys.stdin.readline())
    pausing = sum("pause_after" in one for one in asked)
    pause = Pause(pausing)
    telling = asyncio.create_task(pause.until_told()) if pausing else None
    async with make_client() as client:
        answers = await asyncio.gather(*(ask(client, one, pause) for one in asked))
    if telling is not None:
        await telling
    json.dump(answers, sys.stdout)


def make_client() -> httpx.AsyncClient:
    """A connection a request, as a crowd of strangers would have."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(limits=limits, trust_env=False)


async def ask(client: httpx.AsyncClient, asked: dict[str, Any], pause: Pause | None = None) -> dict[str, Any]:
    started = time.monotonic()
    lines: list[tuple[float, str]] = []
    answer: dict[str, Any] = {"lines": lines}
    request = client.build_request(
        asked.get("method", "GET"), asked["url"], headers=asked.get("headers"), json=asked.get("json"),
        content=asked.get("text"), timeout=asked.get("timeout", 60.0),
    )  # fmt: skip
    pause_after = asked.get("pause_after") if pause is not None else None
    try:
        response = await client.send(request, stream=True)
        answer |= {"status": response.status_code, "headers": dict(response.headers)}
        wanted = asked.get("read_lines")
        if wanted is None:
            answer["text"] = (await response.aread()).decode(errors="replace")
        else:
            async for line in response.aiter_lines():
                lines.append((time.monotonic() - started, line))
                if len(lines) == wanted:
                    break
                if pause is not None and len(lines) == pause_after:
                    await pause.here()
        await response.aclose()
    except httpx.HTTPError as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    if pause is not None and pause_after is not None and len(lines) < pause_after:
        pause.reached()  # it never will, and the others need not wait for it
    answer["seconds"] = time.monotonic() - started
    return answer


def fault(answer: dict[str, Any]) -> str:
    """What is wrong with an answer that should be a good one; empty when nothing is."""
    if answer.get("error"):
        return str(answer["error"])
    if answer["status"] != 200:
        return f"{answer['status']} {answer.get('text', '')[:500]}"
    lines = [line for _, line in answer["lines"] if line.startswith("data: ")]
    if lines and lines[-1] != "data: [DONE]":
        return f"the stream ended with {lines[-1][:500]}"
    return ""


if __name__ == "__main__":
    asyncio.run(main())
