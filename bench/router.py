"""Many models and room for few: switching, coming back, sharing a file. Against llama-server's router."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import prompts
from bench.book import Metric
from bench.client import Request, Target, call, complete
from bench.cold import UNLOAD_TIMEOUT, unload
from bench.measure import cpu_usage
from bench.procs import pss_bytes, tree
from bench.serving import MEMORY, PROMPT_TOKENS, SECONDS, Session
from bench.sides import Process, Running, Side, SideError

CONTEXT_LENGTH = 4096
CACHE_TOKENS = 8192
PARALLEL = 4
SWITCHES = 8
CLIENTS = 8
ROUNDS = 4
TOKENS = 16
CONVERSATION = 2000
TURN = 20
RATE = Metric("requests/s", higher_is_better=True)


def flags(threads: int) -> list[str]:
    """The peer's room and threads: what a Model of `manifest` gets."""
    return ["-np", str(PARALLEL), "-c", str(CACHE_TOKENS), "--kv-unified", "--threads", str(threads),
            "--threads-batch", str(threads), "--swa-full"]


def router(name: str, binary: Path, work: Path, models: dict[str, Path], *, most: int, flags: Sequence[str]) -> Side:
    """llama-server without a model of its own: it starts one process for each that is asked for, `most` at a time."""
    preset = work / f"{'-'.join(models)}.ini"
    preset.write_text("version = 1\n" + "".join(
        f"\n[{model}]\nmodel = {file}\n{_differs(number)}" for number, (model, file) in enumerate(models.items())))
    command = (str(binary), "--models-preset", str(preset), "--models-max", str(most), "--host", "127.0.0.1",
               "--port", "{port}", *flags)
    return Side(name, (Process(command, "/health", tuple(models)),))


def _differs(number: int) -> str:
    return f"temp = 0.{number + 1}\nchat-template = {('chatml', 'gemma', 'llama2')[number % 3]}\n"


def manifest(model: str, file: Path, number: int) -> dict[str, Any]:
    """One of the Models that differ in template and defaults."""
    return {"apiVersion": "paddock.dev/v1alpha1", "kind": "Model", "metadata": {"name": model},
            "spec": {"source": {"file": {"path": str(file)}},
                     "engine": {"parallel": PARALLEL, "contextLength": CONTEXT_LENGTH, "cacheTokens": CACHE_TOKENS,
                                "chatTemplate": "{{ messages[-1].content }}" + " " * number},
                     "defaults": {"temperature": (number + 1) / 10},
                     "loading": {"idleTimeout": "1h", "minResidency": "0s"}}}


async def switching(session: Session) -> None:
    """A B A B one after the other, with room for one; then clients at once that alternate."""
    targets = session.up.targets
    rng = session.rng("switching")
    texts = prompts.disjoint(2 + SWITCHES + CLIENTS * ROUNDS, PROMPT_TOKENS, rng)
    for target in targets:
        await complete(target, Request(texts.pop(), TOKENS))
    with cpu_usage(session.up.pids) as usage:
        began = time.perf_counter()
        for number in range(SWITCHES):
            await complete(targets[number % 2], Request(texts.pop(), TOKENS))
        seconds = (time.perf_counter() - began) / SWITCHES
    session.book.add("switch_serial", SECONDS, session.side, seconds)
    session.book.add_load("switch_serial", session.side, usage.load)

    async def client(number: int, own: Sequence[str]) -> None:
        for turn, text in enumerate(own):
            await complete(targets[(number + turn) % 2], Request(text, TOKENS))

    with cpu_usage(session.up.pids) as usage:
        began = time.perf_counter()
        await asyncio.gather(*(client(number, texts[number::CLIENTS]) for number in range(CLIENTS)))
        rate = CLIENTS * ROUNDS / (time.perf_counter() - began)
    session.book.add("switch_8_clients", RATE, session.side, rate)
    session.book.add_load("switch_8_clients", session.side, usage.load)


async def comeback(session: Session) -> None:
    """The next turn of a long conversation, after another model took the room: seconds to its first text."""
    first, other = session.up.targets
    rng = session.rng("comeback")
    turn, more = prompts.prefix(CONVERSATION, rng), " ".join(rng.choices(prompts.WORDS, k=TURN))
    reply = await complete(first, Request(turn, TOKENS))
    session.book.add_prompt_tokens("comeback", session.run, session.side, reply.prompt_tokens)
    await complete(other, Request(prompts.prefix(PROMPT_TOKENS, rng), TOKENS))
    with cpu_usage(session.up.pids) as usage:
        reply = await complete(first, Request(f"{turn} {more}", TOKENS))
    session.book.add("comeback", SECONDS, session.side, reply.ttft)
    session.book.add_load("comeback", session.side, usage.load)


async def cold(session: Session, *, ours: bool, scenario: str) -> None:
    """A request for a model that is not in memory while nothing else is: seconds to its first text."""
    target = session.up.targets[0]
    for each in session.up.targets:
        await (unload(each) if ours else _router_unload(each))
    asked = Request(prompts.disjoint(1, PROMPT_TOKENS, session.rng("cold"))[0], 4)
    with cpu_usage(session.up.pids) as usage:
        reply = await complete(target, asked)
    session.book.add(scenario, SECONDS, session.side, reply.ttft)
    session.book.add_load(scenario, session.side, usage.load)


async def aliases(session: Session) -> None:
    """Models on one file that differ in template and defaults, each asked once: memory of all processes."""
    rng = session.rng("aliases")
    for target, text in zip(session.up.targets, prompts.disjoint(len(session.up.targets), PROMPT_TOKENS, rng),
                            strict=True):
        await complete(target, Request(text, TOKENS))
    session.book.add("aliases_pss", MEMORY, session.side, pss(session.up) / 2**20)


def pss(up: Running) -> int:
    return pss_bytes(tree(up.pids))


async def _router_unload(target: Target) -> None:
    """Tell the router to end the model's process, and wait until it has. Raises SideError."""
    await call(target.port, "POST", "/models/unload", body=json.dumps({"model": target.model}).encode())
    deadline = time.monotonic() + UNLOAD_TIMEOUT
    while time.monotonic() < deadline:
        _, body = await call(target.port, "GET", "/models")
        status = next((one["status"]["value"] for one in json.loads(body)["data"] if one["id"] == target.model), None)
        if status == "unloaded":
            return
        await asyncio.sleep(0.05)
    raise SideError(f"the router did not unload {target.model} within {UNLOAD_TIMEOUT:.0f} s")
