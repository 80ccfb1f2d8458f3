"""Gateways in front of real runtime pods with real engines."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from openai import APIStatusError, OpenAI

from tests.integration.conftest import descendants
from tests.integration.gateway.fake_pod import own_address
from tests.integration.gateway.kit import DEADLINE, Cluster, Gateway, eventually
from tests.runtime_kit import RuntimePod

Tiny = Callable[[int], Path]


@contextmanager
def _pods(cluster: Cluster, folder: Path, count: int, models: dict[str, Path]) -> Iterator[list[RuntimePod]]:
    """Pods of the pool that hold `models` in their volumes, known to the cluster."""
    with ExitStack() as stack:
        pods = []
        for ordinal in range(count):
            name = f"{cluster.pool}-runtime-{ordinal}"
            pod = RuntimePod(folder / name, PADDOCK_POD=name, PADDOCK_NAMESPACE=cluster.namespace,
                             PADDOCK_POOL=cluster.pool, PADDOCK_LISTEN=f"{own_address()}:0")
            pod.token_file.write_text(cluster.token)
            pod.client.headers["Authorization"] = f"Bearer {cluster.token}"
            for model, path in models.items():
                pod.put(f"{model}.gguf", path)
            pod.push(*(pod.entry(model, pod.in_volume(f"{model}.gguf"), namespace=cluster.namespace)
                       for model in models))
            stack.enter_context(pod)
            place = urlsplit(pod.url)
            cluster.place(name, place.hostname or "", place.port or 0)
            pods.append(pod)
        yield pods


def _complete(gateway: Gateway, **fields: Any) -> httpx.Response:
    body = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0, **fields}
    return httpx.post(f"{gateway.url}/v1/completions", json=body, timeout=DEADLINE)


def _texts(client: OpenAI, *, tokens: int, seen: Callable[[], None] = lambda: None) -> list[str]:
    parts = []
    for part in client.completions.create(model="tiny", prompt="Once upon a time", max_tokens=tokens, temperature=0,
                                          stream=True, extra_body={"ignore_eos": True}):
        parts.append(part.choices[0].text)
        seen()
    return parts


def _loads(pods: list[RuntimePod], model: str) -> int:
    return sum(pod.model(model)["loads"] for pod in pods)


def test_a_hundred_requests_for_a_cold_model_are_one_load(cluster: Cluster, tmp_path: Path, tiny: Tiny) -> None:
    """Two gateways, two pods, maxReplicas 1: whoever asks whom, one pod loads it, once, and all are answered."""
    cluster.model("tiny", scaling={"maxReplicas": 1})
    name = f"{cluster.namespace}/tiny"
    with (_pods(cluster, tmp_path, 2, {"tiny": tiny(0)}) as pods, Gateway(cluster, tmp_path / "one") as one,
          Gateway(cluster, tmp_path / "two") as two):
        for pod in pods:
            pod.until_model("tiny", lambda model: model["phase"] == "Cached")
        for gateway in (one, two):
            gateway.knows(name, "Cached", "Cached")
        with ThreadPoolExecutor(100) as pool, httpx.Client(timeout=DEADLINE) as client:
            body = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 4}
            asked = [pool.submit(client.post, f"{gateway.url}/v1/completions", json=body)
                     for _ in range(50) for gateway in (one, two)]
            answers = [each.result() for each in asked]
        assert [answer.status_code for answer in answers] == [200] * 100
        assert _loads(pods, "tiny") == 1
        assert sorted(one.phases(name)) == ["Cached", "Ready"]


def test_what_a_client_streams_is_what_the_pod_says(cluster: Cluster, tmp_path: Path, tiny: Tiny) -> None:
    cluster.model("tiny", aliases=["my-gpt"])
    name = f"{cluster.namespace}/tiny"
    with _pods(cluster, tmp_path, 1, {"tiny": tiny(0)}) as (pod,), Gateway(cluster, tmp_path / "gw") as gateway:
        gateway.knows(name, "Cached")
        whole = _complete(gateway, max_tokens=24, ignore_eos=True).json()
        assert whole["model"] == "tiny"
        assert "".join(_texts(gateway.client(), tokens=24)) == whole["choices"][0]["text"]
        named = gateway.client().completions.create(model="my-gpt", prompt="Once upon a time", max_tokens=4)
        assert named.model == "my-gpt"
        lines = eventually(lambda: [line for line in gateway.logs() if line["model"] == name][2:] and gateway.logs())
        assert lines[-1]["tokens"] == 4
        assert lines[-1]["revision"] == pod.model("tiny")["revision"]
        with pytest.raises(APIStatusError) as caught:
            gateway.client().completions.create(model="tiny", prompt="x" * 20_000, max_tokens=4)
        assert (caught.value.status_code, caught.value.code) == (400, "context_length_exceeded")


def test_a_hold_that_is_too_short_for_a_load(cluster: Cluster, tmp_path: Path, tiny: Tiny) -> None:
    cluster.model("tiny")
    name = f"{cluster.namespace}/tiny"
    settings = {"PADDOCK_HOLD_SECONDS": "0.02"}
    with _pods(cluster, tmp_path, 1, {"tiny": tiny(0)}), Gateway(cluster, tmp_path / "gw", settings) as gateway:
        gateway.knows(name, "Cached")
        with pytest.raises(APIStatusError) as caught:
            gateway.client().completions.create(model="tiny", prompt="Once", max_tokens=4)
        assert (caught.value.status_code, caught.value.code) == (503, "hold_expired")
        assert int(caught.value.response.headers["retry-after"]) >= 1
        eventually(lambda: gateway.phases(name) == ["Ready"])
        assert _complete(gateway).status_code == 200, "the load went on, and the next one is answered"


def test_an_engine_killed_in_a_stream(cluster: Cluster, tmp_path: Path, tiny: Tiny) -> None:
    """Fault 1, end to end: an error event and no `[DONE]`; the next request is answered."""
    cluster.model("tiny")
    name = f"{cluster.namespace}/tiny"
    with _pods(cluster, tmp_path, 1, {"tiny": tiny(0)}) as (pod,), Gateway(cluster, tmp_path / "gw") as gateway:
        gateway.knows(name, "Cached")
        assert _complete(gateway).status_code == 200
        lines: list[str] = []
        body = {"model": "tiny", "prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}
        with (httpx.Client(timeout=DEADLINE) as client,
              client.stream("POST", f"{gateway.url}/v1/completions", json=body) as response):
            for line in response.iter_lines():
                lines.append(line)
                if len(lines) == 6:
                    os.kill(_engine(pod), signal.SIGKILL)
        events = [line for line in lines if line.startswith("data: ")]
        assert '"code":"engine_crashed"' in events[-1]
        assert "data: [DONE]" not in events
        assert _complete(gateway).status_code == 200


def test_a_pod_that_ends_hands_over(cluster: Cluster, tmp_path: Path, tiny: Tiny) -> None:
    """A rolling update: no request fails while a pod drains and goes, though its EndpointSlice stays."""
    cluster.model("tiny")
    name = f"{cluster.namespace}/tiny"
    with _pods(cluster, tmp_path, 2, {"tiny": tiny(0)}) as pods, Gateway(cluster, tmp_path / "gw") as gateway:
        gateway.knows(name, "Cached", "Cached")
        assert _complete(gateway).status_code == 200
        first = next(pod for pod in pods if pod.model("tiny")["phase"] == "Ready")
        second = next(pod for pod in pods if pod is not first)
        statuses: list[int] = []
        ended = threading.Event()

        def keep_asking() -> None:
            while not ended.is_set():
                statuses.append(_complete(gateway).status_code)
                time.sleep(0.02)

        asking = threading.Thread(target=keep_asking)
        asking.start()
        try:
            assert first.stop() == 0
            eventually(lambda: second.model("tiny")["loads"] == 1)
            before = len(statuses)
            eventually(lambda: len(statuses) > before + 5)
        finally:
            ended.set()
            asking.join()
        assert set(statuses) == {200}


def _engine(pod: RuntimePod) -> int:
    """The pid of its one engine."""
    assert pod.process is not None
    below = descendants(pod.process.pid)
    (engine,) = [pid for pid, command in below.items() if "engine.llama" in command]
    return engine
