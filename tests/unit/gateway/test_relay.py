"""A pod's answer on its way: bytes stay as they are, errors come after whole events, waiting shows life."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn._types import ASGISendEvent

from paddock_api.errors import Code, PaddockError
from paddock_gateway.front.connection import Stalled
from paddock_gateway.front.record import Record
from paddock_gateway.front.relay import Broken, Delivery
from paddock_gateway.proxy.upstream import Ask, Opened
from paddock_gateway.proxy.verdict import refused
from tests.unit.gateway.fleet_kit import model, pod, until

_EVENTS = b'data: {"a":1}\n\ndata: {"b":2}\n\n: heartbeat\n\ndata: [DONE]\n\n'


class Client:
    """What a client gets, and how it takes it."""

    def __init__(self, *, stalls_after: int | None = None) -> None:
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.complete = self.aborted = False
        self._stalls_after = stalls_after

    async def send(self, event: ASGISendEvent) -> None:
        if event["type"] == "http.response.start":
            assert self.status is None
            self.status, self.headers = event["status"], dict(event["headers"])
        elif event["type"] == "http.response.body":
            assert self.status is not None
            assert not self.complete
            self.body += event["body"]
            self.complete = not event["more_body"]

    async def writable(self, stall: float) -> None:
        if self._stalls_after is not None and len(self.body) >= self._stalls_after:
            raise Stalled

    def abort(self) -> None:
        self.aborted = True


class Content:
    def __init__(self, chunks: list[bytes], error: Exception | None) -> None:
        self._chunks, self._error = chunks, error

    async def readany(self) -> bytes:
        if self._chunks:
            return self._chunks.pop(0)
        if self._error is not None:
            raise self._error
        return b""


class Response:
    status = 200

    def __init__(self, chunks: list[bytes], error: Exception | None, headers: dict[str, str]) -> None:
        self.content = Content(chunks, error)
        self.headers = headers


def _opened(chunks: list[bytes], error: Exception | None = None, *, streamed: bool = True,
            headers: dict[str, str] | None = None) -> Opened:
    first, *rest = chunks
    response: Any = Response(rest, error, headers or {})
    return Opened(response=response, pod=pod(0), first=first, streamed=streamed)


def _delivery(client: Client) -> tuple[Delivery, Record]:
    record = Record(request_id="r", endpoint="chat")
    return Delivery(client.send, client, record, stall=1), record


@given(st.lists(st.integers(1, 30), max_size=20))
def test_a_stream_arrives_byte_for_byte_however_it_is_cut(cuts: list[int]) -> None:
    chunks, left = [], _EVENTS
    for cut in cuts:
        chunks.append(left[:cut])
        left = left[cut:]
    client = Client()
    delivery, record = _delivery(client)
    asyncio.run(delivery.stream(_opened([each for each in [*chunks, left] if each]), ()))
    assert client.body == _EVENTS
    assert client.complete
    assert record.code is None


@given(st.integers(1, len(_EVENTS) - 1))
def test_an_error_follows_a_whole_event_wherever_the_pod_was_lost(cut: int) -> None:
    client = Client()
    delivery, _ = _delivery(client)

    async def broken() -> None:
        with pytest.raises(Broken):
            await delivery.stream(_opened([_EVENTS[:cut]], aiohttp.ClientPayloadError()), ())
        await delivery.fail_stream(refused(PaddockError(Code.POD_UNREACHABLE, "gone")))

    asyncio.run(broken())
    assert client.complete
    events = client.body.split(b"\n\n")
    assert events.pop() == b""
    assert json.loads(events.pop().removeprefix(b"data: "))["error"]["code"] == "pod_unreachable"
    assert b"".join(each + b"\n\n" for each in events) == _EVENTS[:_EVENTS.rfind(b"\n\n", 0, cut) + 2 if events else 0]


async def test_a_large_event_is_passed_on_in_pieces() -> None:
    event = b"data: " + b"x" * 200_000 + b"\n\n"
    client = Client()
    delivery, _ = _delivery(client)
    await delivery.stream(_opened([event[start:start + 8192] for start in range(0, len(event), 8192)]), ())
    assert client.body == event


@pytest.mark.parametrize(("end", "code"), [
    (b"data: [DONE]\n\n", None), (b'data: {"c":3}\n\n', "incomplete"),
    (b'data: {"error":{"message":"m","code":"engine_crashed"}}\n\n', "engine_crashed")])
async def test_how_a_stream_ended_is_known(end: bytes, code: str | None) -> None:
    client = Client()
    delivery, record = _delivery(client)
    await delivery.stream(_opened([b'data: {"a":1}\n\n', end]), ())
    assert record.code == code
    assert client.body.endswith(end)


async def test_a_document_keeps_its_head() -> None:
    client = Client()
    delivery, record = _delivery(client)
    body = b'{"usage":{"completion_tokens":4}}'
    head = {"content-type": "application/json", "content-length": str(len(body)), "server": "pod", "set-cookie": "a=b"}
    await delivery.document(_opened([body[:9], body[9:]], streamed=False, headers=head), ())
    assert client.headers == {b"content-type": b"application/json", b"content-length": b"%d" % len(body)}
    assert client.body == body
    assert client.complete
    assert record.tokens == 4


async def test_half_a_document_is_cut_off_rather_than_ended() -> None:
    client = Client()
    delivery, _ = _delivery(client)
    with pytest.raises(Broken):
        await delivery.document(_opened([b'{"a'], aiohttp.ClientPayloadError(), streamed=False), ())
    assert client.aborted
    assert not client.complete


async def test_a_client_that_takes_nothing_is_cut() -> None:
    client = Client(stalls_after=10)
    delivery, _ = _delivery(client)
    with pytest.raises(Stalled):
        await delivery.stream(_opened([b'data: {"a":1}\n\n'] * 3), ())
    assert client.aborted
    assert client.body == b'data: {"a":1}\n\n'


# --- waiting


def _ask(progress: str = "loading 42%") -> Ask:
    return Ask(path="", model=model().id, body=b"", stream=True, tenant="", request_id="", hold_until=0, deadline=0,
               progress=progress)


async def test_who_waits_gets_headers_and_then_comments() -> None:
    client, answer = Client(), asyncio.get_running_loop().create_future()
    delivery, _ = _delivery(client)

    async def find() -> Opened:
        return cast(Opened, await answer)

    finding = asyncio.create_task(find())
    holding = asyncio.create_task(delivery.hold(finding, _ask(), headers_after=0.05, heartbeat=0.05))
    await asyncio.sleep(0.02)
    before = client.status
    assert before is None
    await until(lambda: client.body.count(b": loading 42%\n\n") >= 3)
    assert client.status == 200
    assert client.headers[b"content-type"].startswith(b"text/event-stream")
    opened = _opened([b"data: [DONE]\n\n"])
    answer.set_result(opened)
    assert await holding is opened
    assert client.body.replace(b": loading 42%\n\n", b"") == b""


async def test_who_leaves_while_it_waits_ends_the_search() -> None:
    ended = asyncio.Event()

    async def find() -> Opened:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    delivery, _ = _delivery(Client())
    holding = asyncio.create_task(delivery.hold(asyncio.create_task(find()), _ask(), headers_after=9, heartbeat=9))
    await asyncio.sleep(0.01)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert ended.is_set()
