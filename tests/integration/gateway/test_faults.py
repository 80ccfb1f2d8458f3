"""Pods that break, clients that stall, gateways that end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from aiohttp import web

from paddock_api.errors import Code
from tests.integration.gateway.client import HI, Stream, ask, code_of, many
from tests.integration.gateway.fake_pod import (
    DONE,
    FakePod,
    Seen,
    begin,
    chunk,
    cut,
    in_turn,
    refuse,
    talk,
    vanish,
)
from tests.integration.gateway.kit import Cluster, Gateway, eventually


async def half_then_cut(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
    """Two events and a piece of a third, then nothing."""
    response = await begin(request)
    await response.write(chunk("one ") + chunk("two ") + chunk("three")[:20])
    await asyncio.sleep(0.1)
    cut(request)
    await asyncio.sleep(60)
    raise AssertionError


async def life_then_cut(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
    """Headers and signs of life are no content."""
    response = await begin(request)
    await response.write(b": processing the prompt\n\n")
    await asyncio.sleep(0.1)
    cut(request)
    await asyncio.sleep(60)
    raise AssertionError


async def crash_event(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
    """An engine that died before it said a word, after the headers had to go out."""
    response = await begin(request)
    error = {"error": {"message": "the engine ended", "type": "server_error", "param": None, "code": "engine_crashed"}}
    await response.write(b": loading\n\ndata: " + json.dumps(error).encode() + b"\n\n")
    return response


class Steady:
    """Streams a word each 20 ms until it is told to end."""

    def __init__(self) -> None:
        self.ending = False

    async def __call__(self, pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        response = await begin(request)
        while not self.ending:
            await response.write(chunk("word "))
            await asyncio.sleep(0.02)
        await response.write(DONE)
        return response


def test_before_the_first_content_lost_work_is_done_once_more(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 1: streamed or not, whatever of headers and heartbeats was sent."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with cluster.pod(models={name: "Ready"}) as pod, Gateway(cluster, tmp_path / "gw") as gateway:
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        for fault in (vanish, life_then_cut, crash_event):
            pod.behaviour = in_turn(fault, talk)
            before = len(pod.requests)
            stream = Stream(gateway, "gemma").wait()
            assert (stream.text, stream.complete) == (f"from {pod.name}", True), fault
            assert len(pod.requests) == before + 2
        for first in (vanish, refuse(Code.ENGINE_CRASHED)):
            pod.behaviour = in_turn(first, talk)
            assert ask(gateway, "gemma").status_code == 200
        for last, code in ((vanish, "pod_unreachable"), (refuse(Code.ENGINE_CRASHED), "engine_crashed")):
            pod.behaviour = last
            before = len(pod.requests)
            response = ask(gateway, "gemma")
            assert (response.status_code, code_of(response)) == (502, code)
            assert len(pod.requests) == before + 2, "one retry, and no more"
        assert f'paddock_gateway_retries_total{{model="{name}"}} 7.0' in gateway.metrics()


def test_after_the_first_content_nothing_is_repeated(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 1: one error event, no `[DONE]`, and no half event before it."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(models={name: "Ready"}, behaviour=half_then_cut) as pod,
          Gateway(cluster, tmp_path / "gw") as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        stream = Stream(gateway, "gemma").wait()
        assert stream.text == "one two "
        assert stream.failure is not None
        assert stream.failure["code"] == "pod_unreachable"
        assert not stream.complete
        assert stream.error is None
        assert len(pod.requests) == 1


def test_half_a_document_is_never_taken_for_a_whole(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"

    async def half(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices":[')
        await asyncio.sleep(0.2)
        cut(request)
        await asyncio.sleep(60)
        raise AssertionError

    with cluster.pod(models={name: "Ready"}, behaviour=half) as pod, Gateway(cluster, tmp_path / "gw") as gateway:
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        try:
            ask(gateway, "gemma")
        except httpx.TransportError:
            pass
        else:
            raise AssertionError("the connection must break")
        assert len(pod.requests) == 1


def test_a_pod_that_is_gone_is_known_to_be_without_the_api_server(cluster: Cluster, tmp_path: Path) -> None:
    """Its EndpointSlice still says ready. The Model may have one replica only, and gets it elsewhere."""
    cluster.model("gemma", scaling={"maxReplicas": 1})
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(0, models={name: "Ready"}) as first, cluster.pod(1, models={name: "Cached"}) as second,
          Gateway(cluster, tmp_path / "gw") as gateway):
        cluster.pods(first, second)
        gateway.knows(name, "Ready", "Cached")
        assert ask(gateway, "gemma").status_code == 200
        first.stop()
        assert ask(gateway, "gemma").json()["choices"][0]["message"]["content"] == f"from {second.name}"
        assert second.loads == [name]
        eventually(lambda: gateway.phases(name) == ["Ready"])


def test_a_draining_pod_gets_nothing_new(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(0, models={name: "Ready"}) as first, cluster.pod(1, models={name: "Ready"}) as second,
          Gateway(cluster, tmp_path / "gw") as gateway):
        cluster.pods(first, second)
        gateway.knows(name, "Ready", "Ready")
        first.behaviour = second.behaviour = refuse(Code.DRAINING)
        first.say("draining")
        second.behaviour = None
        eventually(lambda: '"draining":true' in httpx.get(f"{gateway.admin}/state").text.replace(" ", ""))
        assert [ask(gateway, "gemma").status_code for _ in range(5)] == [200] * 5
        assert not first.requests
        cluster.pods(first, second, ready=[first.name])
        eventually(lambda: gateway.phases(name) == ["Ready"])
        assert len(second.requests) == 5


def test_a_client_that_leaves_ends_its_answer(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 16, in the answer and before it."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"

    async def think(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        await asyncio.sleep(600)
        raise AssertionError

    with (cluster.pod(models={name: "Ready"}, behaviour=in_turn(Steady(), think)) as pod,
          Gateway(cluster, tmp_path / "gw") as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        stream = Stream(gateway, "gemma")
        eventually(lambda: len(stream.data) > 3)
        stream.leave()
        eventually(lambda: len(pod.cancelled) == 1)
        with _raw(gateway) as client:
            _send(client, stream=False)
            eventually(lambda: len(pod.requests) == 2)
            assert gateway.demand(name)["waiting"] == 1
        left = time.monotonic()
        eventually(lambda: len(pod.cancelled) == 2)
        assert pod.cancelled[1] - left < 5
        eventually(lambda: gateway.demand(name)["waiting"] == 0 and gateway.demand(name)["answering"] == 0)


def test_a_slow_reader_is_buffered_little_and_cut(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 17: the pod is held back, and other streams go on."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    steady = Steady()

    async def flood(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        response = await begin(request)
        event = chunk("x" * 4000)
        while True:
            await response.write(event)
            pod.sent += len(event)
            await asyncio.sleep(0)

    with (cluster.pod(models={name: "Ready"}, behaviour=in_turn(flood, steady)) as pod,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_STALL_SECONDS": "3"}) as gateway, _raw(gateway) as slow):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        before = _resident(gateway.process.pid)
        _send(slow, stream=True)
        eventually(lambda: pod.sent > 100_000)
        other = Stream(gateway, "gemma")
        eventually(lambda: len(other.data) > 50)
        sent = pod.sent
        time.sleep(0.5)
        assert pod.sent - sent < 200_000, "the pod was held back"
        assert pod.sent < 2 << 20, "kernel buffers on both sides, and next to nothing in the gateway"
        assert _resident(gateway.process.pid) - before < 4 << 20
        eventually(lambda: len(pod.cancelled) == 1)
        assert [line["code"] for line in gateway.logs() if line["status"] == 499] == ["client_stalled"]
        steady.ending = True
        assert other.wait().complete


def test_one_gateway_killed_the_streams_of_the_other_finish(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 15, and each request is in one gateway's demand only."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    steady = Steady()
    with (cluster.pod(models={name: "Ready"}, behaviour=steady) as pod, Gateway(cluster, tmp_path / "one") as one,
          Gateway(cluster, tmp_path / "two") as two):
        cluster.pods(pod)
        for gateway in (one, two):
            gateway.knows(name, "Ready")
        doomed, lasting = [Stream(one, "gemma") for _ in range(3)], [Stream(two, "gemma") for _ in range(3)]
        eventually(lambda: all(len(stream.data) > 5 for stream in [*doomed, *lasting]))
        assert one.demand(name)["answering"] + two.demand(name)["answering"] == 6
        one.stop(signal.SIGKILL)
        eventually(lambda: len(pod.cancelled) == 3)
        seen = [len(stream.data) for stream in lasting]
        eventually(lambda: all(len(stream.data) > count + 5 for stream, count in zip(lasting, seen, strict=True)))
        assert two.demand(name)["answering"] == 3
        steady.ending = True
        assert all(stream.wait().complete for stream in lasting)
        assert not any(stream.wait().complete for stream in doomed)


def test_sigterm_while_streaming(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 13: not ready at once, new work for the grace, what runs may end; exit 0."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    steady = Steady()
    with (cluster.pod(models={name: "Ready"}, behaviour=in_turn(steady, talk)) as pod,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_GRACE_SECONDS": "2"}) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        stream = Stream(gateway, "gemma")
        eventually(lambda: len(stream.data) > 5)
        gateway.process.terminate()
        eventually(lambda: gateway.probe("readyz") == 503)
        assert gateway.probe("livez") == 200
        assert ask(gateway, "gemma").status_code == 200, "who has not heard of it yet is still served"
        eventually(lambda: _refuses(gateway))
        seen = len(stream.data)
        eventually(lambda: len(stream.data) > seen + 5)
        steady.ending = True
        assert stream.wait().complete
        assert gateway.process.wait(30) == 0


def test_sigterm_ends_what_lasts_too_long(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    settings = {"PADDOCK_GRACE_SECONDS": "0", "PADDOCK_DRAIN_SECONDS": "1"}

    async def think(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        await asyncio.sleep(600)
        raise AssertionError

    with (cluster.pod(models={name: "Ready"}, behaviour=in_turn(Steady(), think)) as pod,
          Gateway(cluster, tmp_path / "gw", settings) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        stream = Stream(gateway, "gemma")
        eventually(lambda: len(stream.data) > 5)
        (asked,) = many(1, gateway, "gemma")
        eventually(lambda: len(pod.requests) == 2)
        assert gateway.stop() == 0
        stream.wait()
        assert stream.failure is not None
        assert stream.failure["code"] == "draining"
        response = asked.result(60)
        assert (response.status_code, code_of(response)) == (503, "draining")
        assert response.headers["retry-after"] == "1"


def test_a_clock_that_jumps_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 12: every wait is by the monotonic clock."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    offset, site = tmp_path / "offset", tmp_path / "site"
    offset.write_text("0")
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import time, pathlib\n_real, _file = time.time, pathlib.Path({str(offset)!r})\n"
        "time.time = lambda: _real() + float(_file.read_text())\n")
    steady = Steady()
    settings = {"PADDOCK_DEADLINE_SECONDS": "120", "PADDOCK_HOLD_SECONDS": "60"}
    gateway = Gateway(cluster, tmp_path / "gw", settings, site=site)
    with cluster.pod(models={name: "Ready"}, behaviour=in_turn(steady, talk)) as pod, gateway:
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        stream = Stream(gateway, "gemma")
        for jump in (3600, -3600):
            eventually(lambda: len(stream.data) > 5)
            offset.write_text(str(jump))
            _goes_on(stream)
            assert ask(gateway, "gemma").status_code == 200
            demand = gateway.demand(name)
            assert abs(demand["lastUsed"] - time.time() - jump) < 60, "the jump did reach the process"
            assert demand["answering"] == 1
        steady.ending = True
        assert stream.wait().complete
        assert len(pod.requests) == 3


def _goes_on(stream: Stream) -> None:
    seen = len(stream.data)
    eventually(lambda: len(stream.data) > seen + 20)


# --- raw clients


def _raw(gateway: Gateway) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        client.connect(("127.0.0.1", urlsplit(gateway.url).port))
    except OSError:
        client.close()
        raise
    return client


def _send(client: socket.socket, *, stream: bool) -> None:
    body = json.dumps({"model": "gemma", "messages": HI, "stream": stream}).encode()
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def _refuses(gateway: Gateway) -> bool:
    try:
        _raw(gateway).close()
    except ConnectionRefusedError:
        return True
    return False


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
