"""Runs inside of the cluster: makes the HTTP requests that standard input lists, all at once, and prints what came.

In: a JSON list of {method, url, headers, json | text, timeout, read_lines}. Out, per request: {status, headers, text,
seconds} or {error, seconds}; with `read_lines` also lines [[seconds, line]…], and it leaves after that many (0: stays).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httpx


async def main() -> None:
    asked: list[dict[str, Any]] = json.load(sys.stdin)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        answers = await asyncio.gather(*(_ask(client, one) for one in asked))
    json.dump(answers, sys.stdout)


async def _ask(client: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    lines: list[tuple[float, str]] = []
    answer: dict[str, Any] = {"lines": lines}
    request = client.build_request(
        asked.get("method", "GET"), asked["url"], headers=asked.get("headers"), json=asked.get("json"),
        content=asked.get("text"), timeout=asked.get("timeout", 60.0),
    )  # fmt: skip
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
        await response.aclose()
    except httpx.HTTPError as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    answer["seconds"] = time.monotonic() - started
    return answer


if __name__ == "__main__":
    asyncio.run(main())
