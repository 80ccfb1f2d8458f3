"""Who meets whom in which part of the bench, and the alternation: every run, each side once, in turning order."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench import router, serving
from bench.book import Book
from bench.client import InvalidReply
from bench.cold import request, start_and_ask, unload_and_ask
from bench.report import OURS
from bench.serving import SECONDS, Session
from bench.sides import Side, SideError, llama_server, manifest, paddock, running, serving_flags

SPLIT = "llama-server split KV"
UNIFIED = "llama-server unified KV"
DEFAULTS = "llama-server defaults"
FIT_OFF = "llama-server -fit off"
EQUAL = "llama-server equal flags"
TWO_FULL = "two llama-servers, all threads each"
TWO_DIVIDED = "two llama-servers, threads divided"
ROUTER = "llama-server router"
ROUTER_FIT_OFF = "llama-server router -fit off"

ROOM_FOR_ONE = "900Mi"


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What `python -m bench` was asked for. `null`: llama-server stands in for Paddock, and every ratio should be 1."""

    runs: int
    tokens: int
    seed: str
    threads: int
    null: bool
    binary: Path
    work: Path
    files: tuple[Path, Path]


@dataclass(frozen=True, slots=True)
class Contest:
    """A part of the bench: the sides, and what is done with one of them in one run."""

    name: str
    sides: tuple[Side, ...]
    play: Callable[[Plan, Book, Side, int], Awaitable[None]]


def contests(plan: Plan) -> dict[str, Contest]:
    file, twin = plan.files

    def peer(name: str, flags: Sequence[str], *files: Path) -> Side:
        return llama_server(name, plan.binary, files or (file,), flags)

    def ours(flags: Sequence[str], **models: Path) -> Side:
        return peer(OURS, flags, *models.values()) if plan.null else paddock(
            OURS, plan.work, [manifest(model, file) for model, file in models.items()])

    def many(models: dict[str, Path], *, most: int, memory: str) -> tuple[Side, ...]:
        room = router.flags(plan.threads)

        def theirs(name: str, *more: str) -> Side:
            return router.router(name, plan.binary, plan.work, models, most=most, flags=[*room, *more])

        mine = theirs(OURS) if plan.null else paddock(
            OURS, plan.work, [router.manifest(*each, number) for number, each in enumerate(models.items())], memory)
        return mine, theirs(ROUTER), theirs(ROUTER_FIT_OFF, "-fit", "off")

    split = serving_flags(plan.threads, unified=False)
    unified = serving_flags(plan.threads, unified=True)
    divided = serving_flags(max(1, plan.threads // 2), unified=False)
    parts = [
        Contest("serving", (ours(split, gemma=file), peer(SPLIT, split), peer(UNIFIED, unified)), _serving),
        Contest("cold", (ours([], gemma=file), peer(DEFAULTS, []), peer(FIT_OFF, ["-fit", "off"]),
                         peer(EQUAL, split)), _cold),
        Contest("two-models", (ours(split, gemma=file, twin=twin), peer(TWO_FULL, split, file, twin),
                               peer(TWO_DIVIDED, divided, file, twin)), _two_models),
        Contest("router", many({"first": file, "second": twin}, most=1, memory=ROOM_FOR_ONE), _router),
        Contest("aliases", many({"one": file, "two": file, "three": file}, most=3, memory="4Gi"), _aliases),
    ]
    return {part.name: part for part in parts}


def order(sides: Sequence[_T], run: int) -> list[_T]:
    """Each run begins with another side, so that no side always comes first or after the same one."""
    first = run % len(sides)
    return [*sides[first:], *sides[:first]]


async def play(plan: Plan, contest: Contest, book: Book) -> None:
    """All runs of a contest. A side that fails loses the rest of that run, and the report says so."""
    for run in range(plan.runs):
        for side in order(contest.sides, run):
            print(f"{contest.name}: run {run + 1} of {plan.runs}, {side.name}", file=sys.stderr, flush=True)
            try:
                await contest.play(plan, book, side, run)
            except (InvalidReply, SideError, OSError, TimeoutError) as error:
                book.problem(f"{contest.name}, run {run + 1}, {side.name}: {type(error).__name__}: {error}")
                print(f"  {error}", file=sys.stderr, flush=True)


async def _serving(plan: Plan, book: Book, side: Side, run: int) -> None:
    async with running(side, plan.work) as up:
        session = Session(book, side.name, run, plan.seed, up, plan.tokens)
        await serving.warm_up(session, up.targets[0])
        await serving.memory(session)
        await serving.throughput(session)
        await serving.burst(session)


async def _two_models(plan: Plan, book: Book, side: Side, run: int) -> None:
    async with running(side, plan.work) as up:
        session = Session(book, side.name, run, plan.seed, up, plan.tokens)
        for target in up.targets:
            await serving.warm_up(session, target)
        await serving.two_models(session, alone=side.name != TWO_DIVIDED)


async def _cold(plan: Plan, book: Book, side: Side, run: int) -> None:
    asked = request(plan.seed, run)
    if side.name != OURS or plan.null:
        seconds = await start_and_ask(side, plan.work, asked)
    else:
        async with running(side, plan.work) as up:
            await serving.warm_up(Session(book, side.name, run, plan.seed, up, plan.tokens), up.targets[0])
            seconds = await unload_and_ask(up, asked)
    if side.name in (OURS, DEFAULTS):
        book.add("cold_request", SECONDS, side.name, seconds)
    if side.name != DEFAULTS:
        book.add("cold_request_against_fewer_steps", SECONDS, side.name, seconds)


async def _router(plan: Plan, book: Book, side: Side, run: int) -> None:
    async with running(side, plan.work) as up:
        session = Session(book, side.name, run, plan.seed, up, plan.tokens)
        if side.name != ROUTER_FIT_OFF:
            await router.switching(session)
            await router.comeback(session)
        ours = side.name == OURS and not plan.null
        if side.name != ROUTER_FIT_OFF:
            await router.cold(session, ours=ours, scenario="router_cold")
        if side.name != ROUTER:
            await router.cold(session, ours=ours, scenario="router_cold_against_fewer_steps")


async def _aliases(plan: Plan, book: Book, side: Side, run: int) -> None:
    async with running(side, plan.work) as up:
        await router.aliases(Session(book, side.name, run, plan.seed, up, plan.tokens))
