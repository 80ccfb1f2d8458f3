"""From a request to an answer: which pods are asked in which order, and what a client is told when none answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.rendezvous import order
from paddock_api.state import Phase
from paddock_gateway.fleet.snapshot import ModelInfo, Pod, PoolInfo
from paddock_gateway.fleet.view import PodView, read_state
from paddock_gateway.fleet.world import Endpoint, PodKey, World
from paddock_gateway.metrics import Metrics
from paddock_gateway.proxy import seek as module
from paddock_gateway.proxy.seek import GaveUp, Seeker
from paddock_gateway.proxy.traffic import Traffic
from paddock_gateway.proxy.upstream import Ask, Opened
from paddock_gateway.proxy.verdict import Refusal, Verdict, judge, refused
from tests.unit.gateway.fleet_kit import POOL, model, state_json, until

Answer = Callable[[], Opened | Refusal]
OPENED = object.__new__(Opened)


def no(code: Code, *, lost: bool = False, **fields: Any) -> Answer:
    error = PaddockError(code, f"it said {code.value}", **fields)
    return lambda: refused(error, judge(error.status, code.value), lost=lost)


def yes() -> Opened:
    return OPENED


class Scripted:
    """A pool whose pods answer by script; each pod's last answer is repeated."""

    def __init__(self, wanted: ModelInfo, pods: int = 2) -> None:
        self.world = World()
        self.wanted = wanted
        self.names = order(wanted.id, [f"default-runtime-{number}" for number in range(pods)])
        self.answers: dict[str, list[Answer]] = {name: [yes] for name in self.names}
        self.asked: list[str] = []
        self.doubted: list[str] = []
        self.metrics = Metrics()
        self.traffic = Traffic(queue_per_model=100, max_requests=100, body_memory=1 << 20)
        self.seeker = Seeker(self.world, self, self, self.traffic, self.metrics)
        self.world.set_models([wanted])
        self.world.set_pools([PoolInfo(id=POOL, replicas=pods)])
        self.world.put_slice(("paddock-system", "s"), tuple(
            Endpoint(key=PodKey(POOL, name), url=f"http://{name}", ready=True) for name in self.names))
        for name in self.names:
            self.holds(name, Phase.CACHED)
        self.world.settle()

    def holds(self, name: str, phase: Phase, *, life: str = "life", generation: int = 1) -> None:
        self.world.put_view(PodKey(POOL, name), self._view(phase, life, generation))

    def _view(self, phase: Phase, life: str, generation: int) -> PodView:
        return read_state(state_json({"namespace": self.wanted.id.namespace, "name": self.wanted.id.name,
                                      "phase": phase.value}, epoch=life, config_generation=generation))

    def doubt(self, key: PodKey) -> None:
        self.doubted.append(key.name)

    async def send(self, ask: Ask, pod: Pod) -> Opened | Refusal:
        self.asked.append(pod.name)
        await asyncio.sleep(0)
        script = self.answers[pod.name]
        return (script.pop(0) if len(script) > 1 else script[0])()

    async def seek(self, *, hold: float = 20.0) -> Opened:
        now = asyncio.get_running_loop().time()
        ask = Ask(path="/v1/chat/completions", model=self.wanted.id, body=b"{}", stream=False, tenant="t",
                  request_id="r", hold_until=now + hold, deadline=now + 60)
        ticket = self.traffic.enter(self.wanted.id, places=1, body=2)
        try:
            return await asyncio.wait_for(self.seeker.seek(ask, ticket), 30)
        finally:
            ticket.close()

    async def gives_up(self, *, hold: float = 20.0) -> Refusal:
        with pytest.raises(GaveUp) as caught:
            await self.seek(hold=hold)
        assert self.traffic.total == 0
        assert self.traffic.loads(self.wanted.id, {name: PodKey(POOL, name) for name in self.names}) == {}
        return caught.value.refusal


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.005)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.02)


async def test_a_cold_model_goes_to_the_first_in_order() -> None:
    pool = Scripted(model(), pods=4)
    assert await pool.seek() is OPENED
    assert pool.asked == pool.names[:1]


async def test_no_fit_means_the_next_and_none_is_asked_twice() -> None:
    pool = Scripted(model(), pods=3)
    for name in pool.names[:2]:
        pool.answers[name] = [no(Code.NO_FIT)]
    assert await pool.seek() is OPENED
    assert pool.asked == pool.names


async def test_when_no_pod_can_ever_fit_it_the_client_hears_so_at_once() -> None:
    pool = Scripted(model(), pods=3)
    for name in pool.names:
        pool.answers[name] = [no(Code.NO_FIT)]
    refusal = await pool.gives_up(hold=1000)
    assert pool.asked == pool.names
    assert (refusal.status, refusal.code, refusal.should_retry) == (503, "no_fit", False)
    assert refusal.retry_after


async def test_when_there_is_no_room_for_a_while_the_client_hears_when() -> None:
    pool = Scripted(model(), pods=3)
    for name, retry_after in zip(pool.names, (400, 40, None), strict=True):
        pool.answers[name] = [no(Code.NO_FIT, retry_after=retry_after)]
    refusal = await pool.gives_up(hold=20)
    assert pool.asked == pool.names
    assert (refusal.status, refusal.retry_after, refusal.should_retry) == (503, 40, True)


async def test_a_pod_of_another_configuration_is_asked_again() -> None:
    pool = Scripted(model(), pods=1)
    pool.answers[pool.names[0]] = [no(Code.MODEL_NOT_FOUND, retry_after=15), yes]
    seeking = asyncio.create_task(pool.seek())
    await until(lambda: pool.asked)
    pool.holds(pool.names[0], Phase.CACHED, generation=2)
    assert await seeking is OPENED
    assert pool.asked == pool.names * 2


async def test_a_model_that_its_pods_never_hear_of() -> None:
    pool = Scripted(model(), pods=1)
    pool.answers[pool.names[0]] = [no(Code.MODEL_NOT_FOUND)]
    refusal = await pool.gives_up(hold=0.1)
    assert (refusal.status, refusal.code) == (503, "hold_expired")
    assert "configuration" in refusal.message


async def test_a_draining_pod_is_left_at_once_and_remembered() -> None:
    pool = Scripted(model())
    pool.answers[pool.names[0]] = [no(Code.DRAINING)]
    assert await pool.seek() is OPENED
    pool.world.settle()
    assert await pool.seek() is OPENED
    assert pool.asked == [pool.names[0], pool.names[1], pool.names[1]]


async def test_a_pod_that_can_not_be_reached_is_doubted_and_the_next_one_asked() -> None:
    pool = Scripted(model())
    error = PaddockError(Code.POD_UNREACHABLE, "")
    pool.answers[pool.names[0]] = [lambda: refused(error, Verdict.NEXT, lost=True)]
    assert await pool.seek() is OPENED
    assert pool.asked == pool.names
    assert pool.doubted == pool.names[:1]


async def test_lost_work_is_done_once_more() -> None:
    """Fault 1: one retry, where the crash was counted; then 502."""
    pool = Scripted(model())
    pool.holds(pool.names[0], Phase.READY)
    pool.holds(pool.names[1], Phase.READY)
    pool.world.settle()
    pool.answers[pool.names[0]] = [no(Code.ENGINE_CRASHED), yes]
    assert await pool.seek() is OPENED
    assert pool.asked == [pool.names[0]] * 2
    pool.asked.clear()
    pool.answers[pool.names[0]] = [no(Code.ENGINE_CRASHED)]
    refusal = await pool.gives_up()
    assert pool.asked == [pool.names[0]] * 2
    assert (refusal.status, refusal.code) == (502, "engine_crashed")


async def test_a_connection_lost_in_the_middle_is_tried_once_on_another_pod() -> None:
    pool = Scripted(model())
    pool.answers[pool.names[0]] = [no(Code.POD_UNREACHABLE, lost=True)]
    pool.answers[pool.names[1]] = [no(Code.POD_UNREACHABLE, lost=True)]
    refusal = await pool.gives_up()
    assert pool.asked == pool.names
    assert (refusal.status, refusal.code) == (502, "pod_unreachable")


async def test_when_everything_fails_retries_stop() -> None:
    pool = Scripted(model())
    pool.answers[pool.names[0]] = [no(Code.ENGINE_CRASHED)]
    for _ in range(50):
        await pool.gives_up()
    assert len(pool.asked) == 50 + 10 + 9, "ten from the start, then a fifth of the requests"


@pytest.mark.parametrize("code", [Code.POISON_REQUEST, Code.INVALID_REQUEST, Code.CHECKSUM_MISMATCH, Code.ENGINE_HUNG,
                                  Code.HOLD_EXPIRED])
async def test_what_no_pod_can_better_is_asked_of_one(code: Code) -> None:
    """A poison request above all: it must not reach a second pod."""
    pool = Scripted(model(), pods=4)
    pool.answers[pool.names[0]] = [no(code)]
    assert (await pool.gives_up()).code == code
    assert pool.asked == pool.names[:1]


async def test_a_full_queue_may_be_passed_on_to_a_pod_that_has_the_model() -> None:
    pool = Scripted(model(), pods=3)
    pool.holds(pool.names[0], Phase.READY)
    pool.holds(pool.names[1], Phase.READY)
    pool.world.settle()
    pool.answers[pool.names[0]] = pool.answers[pool.names[1]] = [no(Code.QUEUE_FULL, retry_after=3)]
    refusal = await pool.gives_up(hold=1000)
    assert pool.asked == pool.names[:2], "and to no other: a burst must not load the Model once more"
    assert (refusal.status, refusal.code, refusal.retry_after) == (429, "queue_full", 3)


async def test_a_pod_whose_queue_was_full_is_no_reason_to_wait_for_ever() -> None:
    pool = Scripted(model(), pods=2)
    for name in pool.names:
        pool.holds(name, Phase.READY)
    pool.world.settle()
    pool.answers[pool.names[0]] = [no(Code.QUEUE_FULL, retry_after=3)]
    pool.answers[pool.names[1]] = [no(Code.DISK_FULL, retry_after=0.1)]
    giving_up = asyncio.create_task(pool.gives_up(hold=0.3))
    await until(lambda: len(pool.asked) == 2)
    pool.world.drop_view(PodKey(POOL, pool.names[1]))
    refusal = await giving_up
    assert (refusal.status, refusal.code, refusal.retry_after) == (503, "disk_full", 0.1)


async def test_a_passing_fault_moves_on_then_comes_back() -> None:
    pool = Scripted(model())
    pool.answers[pool.names[0]] = [no(Code.DISK_FULL, retry_after=0.05), yes]
    pool.answers[pool.names[1]] = [no(Code.SOURCE_UNAVAILABLE, retry_after=1000)]
    assert await pool.seek() is OPENED
    assert pool.asked == [*pool.names, pool.names[0]]


async def test_max_replicas_hold_a_request_where_the_model_is() -> None:
    pool = Scripted(model(max_replicas=1))
    pool.holds(pool.names[1], Phase.LOADING)
    pool.world.settle()
    pool.answers[pool.names[1]] = [no(Code.LOAD_FAILED, retry_after=0.05), yes]
    assert await pool.seek() is OPENED
    assert pool.asked == [pool.names[1]] * 2


async def test_a_wait_that_is_longer_than_the_hold_is_not_begun() -> None:
    pool = Scripted(model(), pods=1)
    pool.answers[pool.names[0]] = [no(Code.ENGINE_OOM, retry_after=300)]
    refusal = await pool.gives_up(hold=20)
    assert (refusal.status, refusal.code) == (503, "engine_oom")
    assert refusal.retry_after is not None
    assert refusal.retry_after >= 299


async def test_the_hold_ends_with_503_and_why() -> None:
    pool = Scripted(model(unready="SourceRefused"), pods=0)
    refusal = await pool.gives_up(hold=0.05)
    assert (refusal.status, refusal.code) == (503, "pool_unavailable")
    assert refusal.retry_after
    assert "has 0 replicas" in refusal.message
    assert "SourceRefused" in refusal.message
    pool.world.set_pools([])
    pool.world.settle()
    assert "there is no RuntimePool paddock-system/default" in (await pool.gives_up(hold=0.05)).message


@pytest.mark.parametrize("jump", [3600, -3600])
async def test_a_clock_that_jumps_ends_no_hold_and_lengthens_none(jump: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 12."""
    pool = Scripted(model(), pods=0)
    giving_up = asyncio.create_task(pool.gives_up(hold=0.5))
    await asyncio.sleep(0.02)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    await asyncio.sleep(0.02)
    assert not giving_up.done()
    assert pool.traffic.uses()[pool.wanted.id].waiting == 1
    assert (await giving_up).status == 503
    assert 0 <= pool.traffic.uses()[pool.wanted.id].idle < 60


async def test_a_pod_that_comes_in_time_is_asked() -> None:
    pool = Scripted(model(), pods=1)
    name = pool.names[0]
    pool.world.drop_view(PodKey(POOL, name))
    pool.world.settle()
    seeking = asyncio.create_task(pool.seek())
    await asyncio.sleep(0.02)
    assert not pool.asked
    pool.holds(name, Phase.CACHED)
    assert await seeking is OPENED


async def test_a_model_that_is_removed_while_a_request_waits() -> None:
    pool = Scripted(model(), pods=0)
    giving_up = asyncio.create_task(pool.gives_up())
    await asyncio.sleep(0.02)
    pool.world.drop_model(pool.wanted.id)
    assert (await giving_up).status == 404


async def test_attempts_are_bounded() -> None:
    pool = Scripted(model(), pods=1)
    pool.answers[pool.names[0]] = [no(Code.BACKOFF)]
    refusal = await pool.gives_up(hold=25)
    assert len(pool.asked) == module.MAX_ATTEMPTS
    assert (refusal.status, refusal.code) == (503, "backoff")


async def test_a_hundred_at_once_go_to_one_pod() -> None:
    """What the pod's first event has not told yet, the gateway's own counts do."""
    pool = Scripted(model(max_replicas=1), pods=4)
    gate = asyncio.Event()

    async def send(ask: Ask, pod: Pod) -> Opened:
        pool.asked.append(pod.name)
        await gate.wait()
        return OPENED

    pool.send = send  # type: ignore[method-assign]  # one that waits for all
    seeking = [asyncio.create_task(pool.seek()) for _ in range(100)]
    await until(lambda: len(pool.asked) == 100)
    gate.set()
    await asyncio.gather(*seeking)
    assert set(pool.asked) == {pool.names[0]}
