"""What a request holds of the gateway's memory, and what becomes of it when the gateway ends."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import pytest
from uvicorn._types import ASGISendEvent

from paddock_api.errors import Code, PaddockError
from paddock_gateway.access.keys import ANONYMOUS, Grant
from paddock_gateway.fleet.snapshot import ModelInfo
from paddock_gateway.fleet.world import World
from paddock_gateway.front.inference import Inference
from paddock_gateway.front.record import Record
from paddock_gateway.metrics import Metrics
from paddock_gateway.proxy.seek import Seeker
from paddock_gateway.proxy.traffic import Ticket, Traffic
from paddock_gateway.proxy.upstream import Ask, Opened
from paddock_gateway.settings import Settings
from tests.unit.gateway.fleet_kit import model, pod, until


class Answer:
    """A pod's answer that has begun; its end comes with `go`."""

    status = 200

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.content = self
        self.go = asyncio.Event()

    async def readany(self) -> bytes:
        await self.go.wait()
        return b""

    def close(self) -> None:
        pass


class One:
    """A gateway's front for one client, whose body comes in pieces when the test gives them."""

    def __init__(self, *models: ModelInfo, body_memory: int = 1 << 20) -> None:
        world = World()
        world.set_models(models or [model()])
        world.settle()
        self.traffic = Traffic(queue_per_model=10, max_requests=10, body_memory=body_memory)
        self.answer = Answer()
        self.inference = Inference(world, self.traffic, cast(Seeker, self), Metrics(), Settings())
        self.asked: list[Ask] = []
        self.sent: list[ASGISendEvent] = []
        self._pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def give(self, piece: bytes, *, more: bool = False) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    def leave(self) -> None:
        self._pieces.put_nowait({"type": "http.disconnect"})

    async def seek(self, ask: Ask, ticket: Ticket) -> Opened:
        self.asked.append(ask)
        return Opened(response=cast(Any, self.answer), pod=pod(0), first=b"{", streamed=False)

    async def writable(self, stall: float) -> None:
        pass

    def start(self, grant: Grant = ANONYMOUS) -> asyncio.Task[None]:
        scope: Any = {"type": "http", "path": "/v1/completions", "headers": [],
                      "extensions": {"paddock.connection": self}}
        record = Record(request_id="r", endpoint="completions")
        return asyncio.create_task(self.inference.serve(scope, cast(Any, self._pieces.get), self._send, record,
                                                        grant))

    async def _send(self, event: ASGISendEvent) -> None:
        self.sent.append(event)


def _body(size: int) -> bytes:
    return b'{"model":"gemma","x":"' + b"a" * size + b'"}'


async def test_a_body_is_let_go_of_when_its_answer_has_begun() -> None:
    """An answer may last for an hour; the setting bounds the bodies of those that wait."""
    one, body = One(), _body(1000)
    before = sys.getrefcount(body)
    serving = one.start()
    one.give(body)
    await until(lambda: one.sent)
    assert one.traffic.body_bytes == 0
    assert sys.getrefcount(body) == before
    one.answer.go.set()
    await serving


async def test_bodies_count_while_they_come_in() -> None:
    """Each of thousands of clients could else send all of a body but its end."""
    one = One(body_memory=1000)
    slow = one.start()
    one.give(b"{" * 600, more=True)
    await until(lambda: one.traffic.body_bytes == 600)
    one.give(b"{" * 600, more=True)
    with pytest.raises(PaddockError) as caught:
        await slow
    assert caught.value.code is Code.QUEUE_FULL
    assert caught.value.retry_after
    assert one.traffic.body_bytes == 0


async def test_a_body_that_never_comes_to_its_end_is_counted_no_more() -> None:
    one = One()
    slow = one.start()
    one.give(b"{" * 600, more=True)
    await until(lambda: one.traffic.body_bytes == 600)
    one.leave()
    assert isinstance((await asyncio.gather(slow, return_exceptions=True))[0], Exception)
    assert (one.traffic.body_bytes, one.traffic.total) == (0, 0)


async def test_a_body_that_is_here_only_when_the_gateway_ends_is_sent_to_no_pod() -> None:
    one, body = One(), _body(100)
    late = one.start()
    one.give(body[:50], more=True)
    await until(lambda: one.traffic.body_bytes == 50)
    one.inference.cut_all()
    one.give(body[50:])
    with pytest.raises(PaddockError) as caught:
        await late
    assert (caught.value.code, caught.value.retry_after) == (Code.DRAINING, 1)
    assert not one.asked


@pytest.mark.parametrize(("namespaces", "asked", "got"), [
    ({"a"}, "gemma", "a/gemma"), ({"b"}, "gemma", "b/gemma"), ({"a", "b"}, "b/gemma", "b/gemma"),
    ({"a", "b"}, "gemma", Code.AMBIGUOUS_MODEL), (None, "gemma", Code.AMBIGUOUS_MODEL),
    ({"a"}, "b/gemma", Code.MODEL_NOT_FOUND), ({"c"}, "gemma", Code.MODEL_NOT_FOUND),
    ({"a", "b"}, "twin", "b/gemma"), ({"a"}, "twin", Code.MODEL_NOT_FOUND)])
async def test_a_name_in_two_namespaces_is_never_routed_across(
        namespaces: set[str] | None, asked: str, got: str | Code) -> None:
    """Fault 19."""
    one = One(model(namespace="a"), model(namespace="b", aliases=("twin",)))
    one.answer.go.set()
    allowed = None if namespaces is None else frozenset(namespaces)
    serving = one.start(Grant(name="k", namespaces=allowed, tenant="somebody"))
    one.give(b'{"model":"%s"}' % asked.encode())
    if isinstance(got, Code):
        with pytest.raises(PaddockError) as caught:
            await serving
        assert (caught.value.code, one.asked, one.traffic.total) == (got, [], 0)
    else:
        await serving
        assert [(str(ask.model), ask.tenant) for ask in one.asked] == [(got, "somebody")]
