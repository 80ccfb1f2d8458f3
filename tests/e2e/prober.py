"""Runs inside of the cluster: makes the requests of its argument over and over, each in a loop of its own.

The argument is a JSON list as in agent.py; `every` is the time from the end of one to the next, `after` that before
the first one, in seconds. Each answer is one line on standard output, which the pod's log keeps: {"at": when,
"request": its place in the list, "seconds", "fault"}, where `fault` is empty if all was well. It never ends by itself,
and needs nothing of the API server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httpx

from tests.e2e.agent import ask, fault, make_client


async def main() -> None:
    requests: list[dict[str, Any]] = json.loads(sys.argv[1])
    async with make_client() as client:
        await asyncio.gather(*(_over_and_over(client, number, one) for number, one in enumerate(requests)))


async def _over_and_over(client: httpx.AsyncClient, number: int, asked: dict[str, Any]) -> None:
    await asyncio.sleep(asked.get("after", 0.0))
    while True:
        answer = await ask(client, asked)
        told = {"at": time.strftime("%T"), "request": number, "seconds": round(answer["seconds"], 3)}
        print(json.dumps({**told, "fault": fault(answer)}), flush=True)
        await asyncio.sleep(asked.get("every", 0.2))


if __name__ == "__main__":
    asyncio.run(main())
