"""One budget an endpoint, results that are asked for once."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from paddock_operator.hub.budget import Allowance, Budgets
from paddock_operator.hub.errors import RateLimited, Unavailable
from paddock_operator.hub.kept import Kept
from paddock_operator.hub.urls import Origin

HUB = Origin("https", "hub.example", 443)
EMPTY = httpx.Headers({"ratelimit": '"api";r=0;t=30'})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_quota_used_up_closes_its_bucket_until_it_is_full_again() -> None:
    clock = Clock()
    budget = Budgets(clock=clock).of(HUB)
    async with budget.turn("api", "hub"):
        budget.heed("api", 200, EMPTY)
    with pytest.raises(RateLimited) as caught:
        async with budget.turn("api", "hub"):
            pass
    assert caught.value.retry_after == 31.0
    async with budget.turn("resolvers", "hub"):
        pass
    clock.now = 30.9
    assert budget.left("api") == pytest.approx(0.1)
    clock.now = 31.0
    async with budget.turn("api", "hub"):
        pass


async def test_who_waited_does_not_ask_a_hub_that_has_closed_meanwhile() -> None:
    budget = Budgets(Allowance(at_once=1), clock=Clock()).of(HUB)
    asked = []

    async def ask() -> None:
        async with budget.turn("api", "hub"):
            asked.append(1)
            await asyncio.sleep(0)
            budget.heed("api", 429, httpx.Headers())

    outcomes = await asyncio.gather(*(ask() for _ in range(5)), return_exceptions=True)
    assert asked == [1]
    assert [type(outcome) for outcome in outcomes] == [type(None), *[RateLimited] * 4]


async def test_so_many_at_once_and_so_many_waiting() -> None:
    budget = Budgets(Allowance(at_once=2, waiting=3, patience=30.0), clock=Clock()).of(HUB)
    go = asyncio.Event()
    inside, most = 0, 0

    async def ask() -> None:
        nonlocal inside, most
        async with budget.turn("api", "hub"):
            inside += 1
            most = max(most, inside)
            await go.wait()
            inside -= 1

    tasks = [asyncio.create_task(ask()) for _ in range(6)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 2
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert [type(outcome) for outcome in refused] == [Unavailable]
    assert "too many requests wait" in str(refused[0])
    assert budget.idle


async def test_patience_ends() -> None:
    budget = Budgets(Allowance(at_once=1, patience=0.01), clock=Clock()).of(HUB)
    async with budget.turn("api", "hub"):
        with pytest.raises(Unavailable, match="busy"):
            async with budget.turn("api", "hub"):
                pass
    assert budget.idle


async def test_a_cancelled_request_gives_its_place_back() -> None:
    budget = Budgets(Allowance(at_once=1), clock=Clock()).of(HUB)

    async def ask() -> None:
        async with budget.turn("api", "hub"):
            await asyncio.sleep(3600)

    tasks = [asyncio.create_task(ask()) for _ in range(2)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(5), budget.turn("api", "hub"):
        pass
    assert budget.idle


async def test_endpoints_that_nobody_asks_any_more_are_forgotten() -> None:
    clock = Clock()
    budgets = Budgets(clock=clock)
    closed = budgets.of(HUB)
    closed.heed("api", 200, EMPTY)
    for number in range(2000):
        budgets.of(Origin("https", f"h{number}", 443))
    assert len(budgets._budgets) <= 513
    assert budgets.of(HUB) is closed


async def test_one_flight_for_all_who_ask_together_and_none_for_who_comes_later() -> None:
    kept: Kept[str] = Kept(most_bytes=100, weigh=len)
    runs = []

    async def work() -> str:
        runs.append(1)
        await asyncio.sleep(0)
        return "x"

    assert await asyncio.gather(*(kept.get("k", work) for _ in range(20))) == ["x"] * 20
    assert await kept.get("k", work) == "x"
    assert runs == [1]


async def test_errors_reach_all_and_are_not_kept() -> None:
    kept: Kept[str] = Kept(most_bytes=100, weigh=len)
    runs = []

    async def work() -> str:
        runs.append(1)
        await asyncio.sleep(0)
        raise Unavailable("away")

    outcomes = await asyncio.gather(*(kept.get("k", work) for _ in range(3)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["away"] * 3
    with pytest.raises(Unavailable):
        await kept.get("k", work)
    assert runs == [1, 1]


async def test_work_lives_as_long_as_somebody_waits_for_it() -> None:
    kept: Kept[str] = Kept(most_bytes=100, weigh=len)
    go, cancelled = asyncio.Event(), []

    async def work() -> str:
        try:
            await go.wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise
        return "x"

    first, second = (asyncio.create_task(kept.get("k", work)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert cancelled == []
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert cancelled == [1]
    go.set()
    assert await kept.get("k", work) == "x"


async def test_the_least_recently_used_is_forgotten_first() -> None:
    kept: Kept[str] = Kept(most_bytes=10, weigh=len)
    runs: list[str] = []

    async def get(key: str, size: int) -> None:
        async def work() -> str:
            runs.append(key)
            return "x" * size

        await kept.get(key, work)

    for key in ("a", "b", "a", "c", "a", "b"):
        await get(key, 5)
    assert runs == ["a", "b", "c", "b"]
    await get("huge", 11)
    await get("huge", 11)
    await get("b", 5)
    assert runs == ["a", "b", "c", "b", "huge", "huge"]
