"""List and watch against a scripted API server: what is asked, in which order, and what is never forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from paddock_gateway.cluster import watch as module
from paddock_gateway.cluster.api import ApiProblem
from paddock_gateway.cluster.discovery import Discovery
from paddock_gateway.cluster.watch import Resource, Sink, Watch
from paddock_gateway.fleet.world import World
from tests.unit.gateway.fleet_kit import POOL

Step = Callable[[dict[str, str]], Any]


class Script:
    """Answers calls in order. A list is bytes or an exception; a watch is a list of both, `...` for silence."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.asked: list[dict[str, str]] = []
        self.done = asyncio.Event()

    async def get(self, path: str, query: dict[str, str]) -> bytes:
        answer = await self._next(query)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    async def stream(self, path: str, query: dict[str, str], *, silence: float) -> AsyncGenerator[bytes, None]:
        for piece in await self._next(query):
            if isinstance(piece, Exception):
                raise piece
            if piece is ...:
                async with asyncio.timeout(silence):
                    await asyncio.Event().wait()
            yield piece

    async def _next(self, query: dict[str, str]) -> Any:
        self.asked.append(query)
        if not self.steps:
            self.done.set()
            await asyncio.Event().wait()
        return self.steps.pop(0)


def _object(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "team", "resourceVersion": version}}


def _list(version: str, *names: str, more: str = "") -> bytes:
    return json.dumps({"metadata": {"resourceVersion": version, "continue": more},
                       "items": [_object(name, "1") for name in names]}).encode()


def _event(kind: str, name: str, version: str) -> bytes:
    return json.dumps({"type": kind, "object": _object(name, version)}).encode() + b"\n"


_GONE = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}).encode() + b"\n"


class Heard:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.sink = Sink(replace=lambda items: self.log.append("=" + "".join(map(self._name, items))),
                         put=lambda item: self.log.append("+" + self._name(item)),
                         drop=lambda item: self.log.append("-" + self._name(item)))

    @staticmethod
    def _name(item: bytes) -> str:
        return str(json.loads(item)["metadata"]["name"])


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)


async def _play(*steps: Any, silence: float = 60.0) -> tuple[Script, Heard, Watch]:
    script, heard = Script(*steps), Heard()
    watch = Watch(script, Resource("Model", "/models", "a=b"), heard.sink, silence=silence)
    task = asyncio.create_task(watch.run())
    await asyncio.wait_for(script.done.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return script, heard, watch


async def test_a_list_in_pages_then_changes() -> None:
    cut = _event("ADDED", "c", "7")
    script, heard, watch = await _play(
        _list("5", "a", more="next"), _list("5", "b"),
        [cut[:10], cut[10:] + _event("MODIFIED", "a", "8"), _event("BOOKMARK", "", "9"), _event("DELETED", "b", "10")])
    assert heard.log == ["=ab", "+c", "+a", "-b"]
    assert [query.get("continue") for query in script.asked[:2]] == [None, "next"]
    assert script.asked[2]["resourceVersion"] == "5"
    assert script.asked[2]["allowWatchBookmarks"] == "true"
    assert all(query["labelSelector"] == "a=b" for query in script.asked)
    assert script.asked[3]["resourceVersion"] == "10", "a watch that ended goes on where it was"
    assert watch.synced.is_set()
    assert watch.connected


@pytest.mark.parametrize("gone", [[_GONE], [ApiProblem(410, "too old")]])
async def test_a_version_that_is_too_old_makes_a_new_list(gone: list[Any]) -> None:
    """Fault 9: what was deleted meanwhile is in no event, so the list replaces everything."""
    script, heard, watch = await _play(_list("5", "a", "b"), gone, _list("90", "b"), [_event("ADDED", "c", "91")])
    assert heard.log == ["=ab", "=b", "+c"]
    assert script.asked[3]["resourceVersion"] == "90"
    assert watch.lists == 2


async def test_a_list_that_fails_in_its_middle_replaces_nothing() -> None:
    script, heard, _ = await _play(_list("5", "a"), [_GONE], _list("6", "a", more="next"), ApiProblem(410, "expired"),
                                   _list("7", "a", "b"), [])
    assert heard.log == ["=a", "=ab"]
    assert "continue" not in script.asked[4]


async def test_an_outage_changes_nothing() -> None:
    """Fault 8: no list is taken when the server is back, for nothing is known to be missing."""
    script, heard, watch = await _play(
        _list("5", "a"), [_event("ADDED", "b", "6"), ConnectionResetError()], [ConnectionRefusedError()],
        [TimeoutError()], [_event("ADDED", "c", "7")])
    assert heard.log == ["=a", "+b", "+c"]
    assert [query["resourceVersion"] for query in script.asked[1:]] == ["5", "6", "6", "6", "7"]
    assert watch.lists == 1


async def test_a_silent_watch_is_ended_and_goes_on_where_it_was() -> None:
    script, heard, _ = await _play(_list("5", "a"), [_event("ADDED", "b", "6"), ...], [_event("ADDED", "c", "7")],
                                   silence=0.05)
    assert heard.log == ["=a", "+b", "+c"]
    assert script.asked[2]["resourceVersion"] == "6"


async def test_nonsense_makes_a_new_list() -> None:
    _, heard, _ = await _play(_list("5", "a"), [b"<html>\n"], b"not json", _list("6", "b"), [])
    assert heard.log == ["=a", "=b"]


async def test_one_object_that_can_not_be_read_hides_no_other() -> None:
    world = World()
    script = Script()
    discovery = Discovery(script, world, POOL)
    models = discovery.watches[0]
    bad = b'{"metadata": {"name": "bad", "namespace": "team"}, "spec": {"aliases": 7}}'
    good = b'{"metadata": {"name": "good", "namespace": "team"}, "spec": {}}'
    models._sink.replace([bad, good])
    world.settle()
    assert [str(each) for each in world.snapshot.models] == ["team/good"]
    models._sink.put(good.replace(b'"spec": {}', b'"spec": 7'))
    world.settle()
    assert not world.snapshot.models, "what is no longer a Model that we understand is not served as it was"
