"""Requests for Models that are not in memory: who waits how long, what it sees meanwhile, what it is told at last."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web
from openai import InternalServerError

from paddock_api.errors import Code, PaddockError
from tests.integration.gateway.client import Stream, ask, code_of, many
from tests.integration.gateway.fake_pod import DONE, FakePod, Seen, begin, chunk, error, in_turn, refuse, talk
from tests.integration.gateway.kit import Cluster, Gateway, eventually


def test_a_hundred_at_once_through_two_gateways_load_a_cold_model_once(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma", scaling={"maxReplicas": 1})
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(0, models={name: "Cached"}, loads_wait=True) as first,
          cluster.pod(1, models={name: "Cached"}, loads_wait=True) as second,
          Gateway(cluster, tmp_path / "one") as one, Gateway(cluster, tmp_path / "two") as two):
        cluster.pods(first, second)
        for gateway in (one, two):
            gateway.knows(name, "Cached", "Cached")
        asked = [*many(50, one, "gemma"), *many(50, two, "gemma")]
        eventually(lambda: len(first.requests) + len(second.requests) == 100)
        waiting = [gateway.demand(name) for gateway in (one, two)]
        assert [(each["waiting"], each["answering"]) for each in waiting] == [(50, 0), (50, 0)]
        first.finish_loads()
        second.finish_loads()
        assert [future.result(60).status_code for future in asked] == [200] * 100
        assert first.loads + second.loads == [name]
        assert sorted([len(first.requests), len(second.requests)]) == [0, 100]
        assert one.demand(name)["waiting"] == 0
        assert one.demand(name)["idleSeconds"] < 60


def test_a_hold_that_is_too_short_is_a_503_with_retry_after(cluster: Cluster, tmp_path: Path) -> None:
    """Seen through the openai client, which would try again by itself."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"

    async def held(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        await asyncio.sleep(float(seen.headers["paddock-hold"]))
        return error(PaddockError(Code.HOLD_EXPIRED, "it was not ready in time", retry_after=5))

    with (cluster.pod(models={name: "Cached"}, behaviour=held) as pod,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_HOLD_SECONDS": "1"}) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Cached")
        with pytest.raises(InternalServerError) as caught:
            gateway.client().chat.completions.create(model="gemma", messages=[{"role": "user", "content": "hi"}])
        assert (caught.value.status_code, caught.value.code) == (503, "hold_expired")
        assert caught.value.response.headers["retry-after"] == "5"
        assert len(pod.requests) == 1
        with pytest.raises(InternalServerError):
            gateway.client(max_retries=1).chat.completions.create(
                model="gemma", messages=[{"role": "user", "content": "hi"}])
        assert len(pod.requests) == 3, "it waited as it was told and tried once more"


def test_without_any_pod_the_hold_ends_with_503_too(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    settings = {"PADDOCK_HOLD_SECONDS": "1", "PADDOCK_HEADERS_AFTER_SECONDS": "0.3", "PADDOCK_HEARTBEAT_SECONDS": "0.2"}
    with Gateway(cluster, tmp_path / "gw", settings) as gateway:
        gateway.knows(name)
        began = time.monotonic()
        response = ask(gateway, "gemma")
        assert time.monotonic() - began >= 1
        assert (response.status_code, code_of(response)) == (503, "pool_unavailable")
        assert int(response.headers["retry-after"]) >= 1
        assert "has no pod that runs yet" in response.json()["error"]["message"]
        stream = Stream(gateway, "gemma").wait()
        assert stream.status == 200
        assert "waiting for a pod" in stream.comments
        assert stream.failure is not None
        assert stream.failure["code"] == "pool_unavailable"
        assert stream.failure["retry_after"] >= 1
        assert not stream.complete
        cluster.model("lost", poolRef={"name": "nowhere", "namespace": cluster.namespace})
        eventually(lambda: f"{cluster.namespace}/lost" in gateway.get("state")["models"])
        assert f"there is no RuntimePool {cluster.namespace}/nowhere" in ask(gateway, "lost").text


def test_a_stream_that_waits_shows_life_and_then_its_answer(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    async def slowly(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        response = await begin(request)
        for percent in range(0, 100, 10):
            await response.write(f": loading {percent}%\n\n".encode())
            await asyncio.sleep(0.02)
        await pod.told()
        await response.write(chunk("at last") + DONE)
        return response

    with (cluster.pod(models={name: "Cached"}, behaviour=slowly) as pod,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_HEARTBEAT_SECONDS": "0.3"}) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Cached")
        stream = Stream(gateway, "gemma")
        eventually(lambda: len(stream.comments) >= 3)
        assert stream.headers_after >= 1.9, "headers wait for 2 s: until then a plain error could still be one"
        assert set(stream.comments) == {"loading 90%"}
        assert gateway.demand(name)["waiting"] == 1
        pod.finish_loads()
        stream.wait()
        assert stream.text == "at last"
        assert stream.complete
        assert stream.headers is not None
        assert stream.headers["content-type"].startswith("text/event-stream")


def test_an_error_before_the_headers_is_an_http_error(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(models={name: "Ready"}, behaviour=refuse(Code.INVALID_GRAMMAR, "no")) as pod,
          Gateway(cluster, tmp_path / "gw") as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        stream = Stream(gateway, "gemma").wait()
        assert stream.status == 400
        assert stream.headers is not None
        assert stream.headers["content-type"] == "application/json"


def test_a_full_queue_is_a_429(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(models={name: "Cached"}, loads_wait=True) as pod,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_QUEUE_PER_MODEL": "5"}) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Cached")
        asked = many(20, gateway, "gemma")
        eventually(lambda: sum(future.done() for future in asked) == 15)
        refused = [future.result() for future in asked if future.done()]
        assert {(answer.status_code, code_of(answer)) for answer in refused} == {(429, "queue_full")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        pod.finish_loads()
        assert sorted(future.result(60).status_code for future in asked) == [200] * 5 + [429] * 15
        assert len(pod.requests) == 5


def test_the_deadline_is_a_504_or_an_event(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"

    async def never(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        await asyncio.sleep(600)
        raise AssertionError

    async def half(pod: FakePod, request: web.Request, seen: Seen) -> web.StreamResponse:
        response = await begin(request)
        await response.write(chunk("so "))
        await asyncio.sleep(600)
        raise AssertionError

    with (cluster.pod(models={name: "Ready"}, behaviour=in_turn(never, never, half)) as pod,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_DEADLINE_SECONDS": "2.5"}) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        response = ask(gateway, "gemma")
        assert (response.status_code, code_of(response)) == (504, "deadline_exceeded")
        assert response.headers["x-should-retry"] == "false"
        for text in ("", "so "):
            stream = Stream(gateway, "gemma").wait()
            assert (stream.status, stream.text) == (200, text)
            assert stream.failure is not None
            assert stream.failure["code"] == "deadline_exceeded"
        eventually(lambda: len(pod.cancelled) == 3)


def test_who_leaves_frees_its_place_and_ends_no_load_that_others_wait_for(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 16, while a Model is loaded."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    settings = {"PADDOCK_HEADERS_AFTER_SECONDS": "0.1", "PADDOCK_HEARTBEAT_SECONDS": "0.1"}
    with (cluster.pod(models={name: "Cached"}, loads_wait=True) as pod,
          Gateway(cluster, tmp_path / "gw", settings) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Cached")
        leaving, staying = Stream(gateway, "gemma"), Stream(gateway, "gemma")
        eventually(lambda: len(pod.requests) == 2 and leaving.comments)
        leaving.leave()
        eventually(lambda: len(pod.cancelled) == 1)
        assert gateway.demand(name)["waiting"] == 1
        pod.finish_loads()
        assert staying.wait().complete
        assert pod.loads == [name]
        eventually(lambda: [line["code"] for line in gateway.logs() if line["status"] == 499] == ["client_left"])


def test_no_fit_goes_on_to_the_next_pod_and_the_estimate_is_heeded(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(0, models={name: "Cached"}) as first, cluster.pod(1, models={name: "Cached"}) as second,
          Gateway(cluster, tmp_path / "gw") as gateway):
        cluster.pods(first, second)
        gateway.knows(name, "Cached", "Cached")
        first.behaviour = second.behaviour = refuse(Code.NO_FIT, "it needs 9 GiB", retry_after=None)
        response = ask(gateway, "gemma")
        assert (response.status_code, code_of(response)) == (503, "no_fit")
        assert response.headers["x-should-retry"] == "false"
        assert "it needs 9 GiB" in response.text
        assert (len(first.requests), len(second.requests)) == (1, 1)
        first.behaviour, second.behaviour = refuse(Code.NO_FIT, "it needs 9 GiB"), talk
        assert ask(gateway, "gemma").json()["choices"][0]["message"]["content"] == f"from {second.name}"
        small, large = sorted((first, second), key=lambda pod: pod is second)
        small.needs[name], small.budget = 2000, 1000
        small.behaviour = talk
        small.configure({name: "Cached"})
        large.configure({name: "Cached"})
        eventually(lambda: 1000 in [pod["budgetBytes"] for pool in gateway.get("state")["pools"].values()
                                    for pod in pool["pods"]] and sorted(gateway.phases(name)) == ["Cached", "Cached"])
        before = len(small.requests)
        assert ask(gateway, "gemma").status_code == 200
        assert len(small.requests) == before


def test_a_model_that_the_pods_get_only_now(cluster: Cluster, tmp_path: Path) -> None:
    """Between `kubectl apply` and the pods' new configuration a request is held, not refused."""
    cluster.model("fresh")
    name = f"{cluster.namespace}/fresh"
    with (cluster.pod(behaviour=refuse(Code.MODEL_NOT_FOUND, header={"paddock-config-generation": "1"})) as pod,
          Gateway(cluster, tmp_path / "gw") as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Absent")
        (asked,) = many(1, gateway, "fresh")
        eventually(lambda: pod.requests)
        pod.behaviour = None
        pod.configure({name: "Cached"})
        assert asked.result(60).status_code == 200
