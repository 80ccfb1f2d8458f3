"""Flow control between an engine and a reader."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.errors import Code, PaddockError
from paddock_api.state import Phase
from paddock_runtime.engine.protocol import Delta, PositionLogprobs, TokenLogprob
from paddock_runtime.jobs import Text, Waiting
from paddock_runtime.lifecycle.outbox import Outbox, size_of

LIMIT = 8192


class Kept:
    """An outbox with a clock to set, and what it told the engine."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.box = Outbox(limit_bytes=LIMIT, clock=lambda: self.now)
        self.box.on_slow = lambda: self.told.append("pause")
        self.box.on_taken = lambda: self.told.append("resume")


def text(size: int) -> Text:
    return Text(choice=0, delta=Delta(id=1, text="x" * size))


async def test_it_pauses_at_half_and_resumes_below_a_quarter() -> None:
    kept = Kept()
    for _ in range(9):
        kept.box.put(text(436))  # 500 with its overhead
    assert kept.told == ["pause"]
    while kept.box.bytes > LIMIT // 4 + 500:
        await kept.box.next()
    assert kept.told == ["pause"]
    await kept.box.next()
    assert kept.told == ["pause", "resume"]


async def test_all_that_was_put_is_read_in_order_then_the_error() -> None:
    kept = Kept()
    for number in range(5):
        kept.box.put(text(number))
    kept.box.end(PaddockError(Code.ENGINE_CRASHED, "gone"))
    kept.box.put(text(99))
    sizes = [len(output.delta.text) for _ in range(5) if isinstance(output := await kept.box.next(), Text)]
    assert sizes == [0, 1, 2, 3, 4]
    for _ in range(2):
        with pytest.raises(PaddockError, match="gone"):
            await kept.box.next()


async def test_a_reader_waits_for_the_next_and_hears_the_end() -> None:
    kept = Kept()
    reading = asyncio.create_task(kept.box.next())
    await asyncio.sleep(0)
    kept.box.put(text(1))
    assert await reading == text(1)
    ending = asyncio.create_task(kept.box.next())
    await asyncio.sleep(0)
    kept.box.end()
    assert await ending is None


async def test_waiting_is_told_as_it_is_now() -> None:
    kept = Kept()
    for phase in (Phase.FETCHING, Phase.CACHED, Phase.LOADING):
        kept.box.put(Waiting(phase=phase))
    assert await kept.box.next() == Waiting(phase=Phase.LOADING)
    assert kept.box.bytes == 0


async def test_a_stall_is_counted_from_what_was_taken_last() -> None:
    kept = Kept()
    kept.now = 100.0
    assert kept.box.stalled_for(100.0) == 0.0
    kept.box.put(text(1))
    kept.box.put(text(1))
    assert kept.box.stalled_for(120.0) == 20.0
    kept.now = 125.0
    await kept.box.next()
    assert kept.box.stalled_for(130.0) == 5.0
    await kept.box.next()
    assert kept.box.stalled_for(999.0) == 0.0


async def test_dropping_frees_what_nobody_will_read() -> None:
    kept = Kept()
    kept.box.put(text(5000))
    kept.box.end(PaddockError(Code.CLIENT_STALLED, "slow"), drop=True)
    assert kept.box.bytes == 0
    with pytest.raises(PaddockError, match="slow"):
        await kept.box.next()


def test_log_probabilities_count() -> None:
    entry = TokenLogprob(text="a", data=b"a", logprob=-1.0)
    delta = Delta(id=1, text="a", logprobs=[PositionLogprobs(chosen=entry, top=[entry] * 20)])
    assert size_of(Text(choice=0, delta=delta)) > 20 * 48


@given(st.lists(st.one_of(st.integers(0, 600), st.none()), max_size=200))
async def test_pauses_and_resumes_alternate_and_the_bytes_are_bounded(steps: list[int | None]) -> None:
    """A writer that stops when it is told to (None: the reader takes one)."""
    kept = Kept()
    for step in steps:
        if step is None:
            if kept.box.bytes:
                await kept.box.next()
        elif kept.told[-1:] != ["pause"]:
            kept.box.put(text(step))
        assert kept.box.bytes <= LIMIT
    assert all(one != other for one, other in zip(kept.told, kept.told[1:], strict=False))
