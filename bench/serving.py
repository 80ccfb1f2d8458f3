"""The scenarios of a server that is up: disjoint prompts, the burst that shares a prefix, memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench import prompts
from bench.book import Book, Metric
from bench.client import Request, Target
from bench.measure import Result, drive, peak_pss
from bench.sides import PARALLEL, Running
from bench.stats import percentile

CONCURRENCIES = (1, 4, 8, 16)
PROMPT_TOKENS = 30
PREFIX_TOKENS = 340
SUFFIX_TOKENS = 20
BURST = 16
BURST_TOKENS = 16

THROUGHPUT = Metric("tok/s", higher_is_better=True)
SECONDS = Metric("s", higher_is_better=False)
MEMORY = Metric("MiB", higher_is_better=False)
SHARE = Metric("of one model's tok/s at 8", higher_is_better=True)


@dataclass(frozen=True, slots=True)
class Session:
    """One side, up, in one run. `seed` and `run` decide the prompts, so both sides of a run get the same."""

    book: Book
    side: str
    run: int
    seed: str
    up: Running
    tokens: int

    def rng(self, scenario: str) -> random.Random:
        return random.Random(f"{self.seed}/{self.run}/{scenario}")

    def note(self, scenario: str, result: Result) -> None:
        self.book.add_load(scenario, self.side, result.load)
        self.book.add_prompt_tokens(scenario, self.run, self.side, result.prompt_tokens)


def queues(concurrency: int, rounds: int, tokens: int, rng: random.Random) -> list[list[Request]]:
    """A closed loop's requests: for each worker, `rounds` disjoint prompts."""
    texts = prompts.disjoint(concurrency * rounds, PROMPT_TOKENS, rng)
    return [[Request(text, tokens) for text in texts[worker::concurrency]] for worker in range(concurrency)]


def rounds(concurrency: int) -> int:
    """Enough requests for some seconds: four one after the other, or two for each of many."""
    return 4 if concurrency == 1 else 2


def together(texts: Sequence[str], tokens: int) -> list[list[Request]]:
    """All at once: a worker each."""
    return [[Request(text, tokens)] for text in texts]


async def warm_up(session: Session, target: Target) -> None:
    """The first requests, whose times nobody counts: they load the model and touch every slot."""
    await drive(session.up.pids, (target, queues(1, 1, 4, session.rng(f"first {target.model}"))))
    await drive(session.up.pids, (target, queues(PARALLEL, 1, 8, session.rng(f"warm-up {target.model}"))))


async def memory(session: Session) -> None:
    """Peak of the summed PSS while 16 are served, in a round of its own: sampling takes time from what it samples."""
    async with peak_pss(session.up.pids) as samples:
        await drive(session.up.pids,
                    (session.up.targets[0], queues(PARALLEL, 1, session.tokens, session.rng("memory"))))
    session.book.add("peak_pss", MEMORY, session.side, max(samples) / 2**20)


async def throughput(session: Session) -> None:
    for concurrency in CONCURRENCIES:
        scenario = f"throughput_{concurrency}"
        requests = queues(concurrency, rounds(concurrency), session.tokens, session.rng(scenario))
        result = await drive(session.up.pids, (session.up.targets[0], requests))
        session.book.add(scenario, THROUGHPUT, session.side, result.tokens_per_second)
        session.note(scenario, result)


async def burst(session: Session) -> None:
    """Cold: a prefix nobody sent before. Warm: the same prefix again, other endings."""
    shared = prompts.prefix(PREFIX_TOKENS, session.rng("prefix"))
    for scenario in ("burst_cold", "burst_warm"):
        texts = prompts.sharing(shared, BURST, SUFFIX_TOKENS, session.rng(scenario))
        result = await drive(session.up.pids, (session.up.targets[0], together(texts, BURST_TOKENS)))
        session.book.add(f"{scenario}_ttft_p50", SECONDS, session.side, percentile(result.ttfts, 50))
        session.book.add(f"{scenario}_ttft_p95", SECONDS, session.side, percentile(result.ttfts, 95))
        session.book.add(f"{scenario}_throughput", THROUGHPUT, session.side, result.tokens_per_second)
        session.note(scenario, result)


async def two_models(session: Session, *, alone: bool) -> None:
    """Two models with 4 requests at a time each; with `alone`, then the first with 8: what does the second cost?"""
    first, second = session.up.targets
    both = await drive(session.up.pids,
                       (first, queues(4, 2, session.tokens, session.rng("both, first"))),
                       (second, queues(4, 2, session.tokens, session.rng("both, second"))))
    session.book.add("two_models_throughput", THROUGHPUT, session.side, both.tokens_per_second)
    session.note("two_models", both)
    if alone:
        one = await drive(session.up.pids, (first, queues(8, 2, session.tokens, session.rng("one of two"))))
        session.book.add("two_models_of_one", SHARE, session.side, both.tokens_per_second / one.tokens_per_second)
        session.note("one_of_two_models", one)
