"""One measurement: send, time, and note who used the CPU meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from bench.client import Reply, Request, Target, closed_loop
from bench.procs import Load, cpu_seconds, machine_busy_seconds, pss_bytes, tree

_PSS_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class Result:
    replies: list[Reply]
    load: Load

    @property
    def tokens_per_second(self) -> float:
        """All generated tokens over the time from the first request to the last byte, prompts included."""
        seconds = max(reply.ended for reply in self.replies) - min(reply.sent for reply in self.replies)
        return sum(reply.completion_tokens for reply in self.replies) / seconds

    @property
    def prompt_tokens(self) -> int:
        return sum(reply.prompt_tokens for reply in self.replies)

    @property
    def ttfts(self) -> list[float]:
        return [reply.ttft for reply in self.replies]


class _Usage:
    load: Load


@contextlib.contextmanager
def cpu_usage(roots: Sequence[int]) -> Iterator[_Usage]:
    usage = _Usage()
    pids = tree(roots)
    wall, client, side, machine = time.monotonic(), time.process_time(), cpu_seconds(pids), machine_busy_seconds()
    yield usage
    pids |= tree(roots)
    wall = time.monotonic() - wall
    client = time.process_time() - client
    side = cpu_seconds(pids) - side
    machine = machine_busy_seconds() - machine
    usage.load = Load(client / wall, side / wall, max(0.0, machine - client - side) / wall)


async def drive(roots: Sequence[int], *workers: tuple[Target, Sequence[Sequence[Request]]]) -> Result:
    """All workers of all targets at once. Raises InvalidReply."""
    with cpu_usage(roots) as usage:
        replies = await asyncio.gather(*(closed_loop(target, queues) for target, queues in workers))
    return Result([reply for some in replies for reply in some], usage.load)


@contextlib.asynccontextmanager
async def peak_pss(roots: Sequence[int]) -> AsyncIterator[list[int]]:
    """Samples of the side's memory in bytes, taken all the while."""
    samples: list[int] = []

    async def sample() -> None:
        while True:
            samples.append(await asyncio.to_thread(lambda: pss_bytes(tree(roots))))
            await asyncio.sleep(_PSS_EVERY)

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
