"""The cold request: from "nothing is in memory" to the first text, as a client sees it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

from bench import prompts
from bench.client import Request, Target, call, complete
from bench.serving import PROMPT_TOKENS
from bench.sides import Running, Side, SideError, free_port, spawn, stop, wait_up

UNLOAD_TIMEOUT = 60.0
_TOKENS = 4


def request(seed: str, run: int) -> Request:
    return Request(prompts.disjoint(1, PROMPT_TOKENS, random.Random(f"{seed}/{run}/cold"))[0], _TOKENS)


async def start_and_ask(side: Side, logs: Path, asked: Request) -> float:
    """Seconds from the start of the process to its first text. Raises SideError, InvalidReply."""
    process = side.processes[0]
    port = free_port()
    log = logs / f"{side.name.replace(' ', '-')}-cold.log"
    began = time.perf_counter()
    child = spawn(process, port, log)
    try:
        await wait_up(process, port, child, log)
        reply = await complete(Target(port, process.models[0]), asked)
        return reply.first - began
    finally:
        await asyncio.to_thread(stop, [child])


async def unload_and_ask(up: Running, asked: Request) -> float:
    """Seconds from a request for a model that is on disk only to its first text. Raises SideError, InvalidReply."""
    target = up.targets[0]
    await unload(target)
    return (await complete(target, asked)).ttft


async def unload(target: Target) -> None:
    """Tell Paddock to unload the model and wait until `/state` shows it Cached. Raises SideError."""
    status, body = await call(target.port, "POST", f"/models/default/{target.model}:unload")
    if status >= 300:
        raise SideError(f"unload answered {status}: {body[:300]!r}")
    deadline = time.monotonic() + UNLOAD_TIMEOUT
    phase = None
    while time.monotonic() < deadline:
        _, body = await call(target.port, "GET", "/state")
        phase = phase_of(json.loads(body), target.model)
        if phase == "Cached":
            return
        await asyncio.sleep(0.05)
    raise SideError(f"the model is {phase}, not Cached, {UNLOAD_TIMEOUT:.0f} s after its unload")


def phase_of(state: dict[str, list[dict[str, str]]], model: str) -> str | None:
    return next((one["phase"] for one in state["models"] if one["name"] == model), None)
