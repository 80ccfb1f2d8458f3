"""Faults 1, 16 and 17 and the hold contract, over real sockets: what a client sees, and that others see nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from paddock_runtime.lifecycle import Limits
from paddock_runtime.server.context import Settings
from tests.integration.conftest import descendants
from tests.models import full, gemma, minilm
from tests.pod_kit import DEADLINE, PodThread, eventually, write_gemma, write_model


@pytest.fixture(autouse=True, scope="module")
def no_process_left_behind() -> Iterator[None]:
    """In place of the check after each test: this module's pod keeps its engines until the end."""
    before = set(descendants(os.getpid()))
    yield
    eventually(lambda: not set(descendants(os.getpid())) - before)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodThread]:
    folder = tmp_path_factory.mktemp("models")
    write_gemma(folder, gemma(), contextLength=4096)
    write_model(folder, "minilm", minilm())
    write_model(folder, "tiny", full(), engine={"contextLength": 8192, "parallel": 4})
    settings = Settings(headers_after=0.2, heartbeat=0.2, stall=3.0)
    with PodThread(folder, tmp_path_factory.mktemp("cache"), settings=settings, limits=Limits(stall_seconds=60)) as pod:
        yield pod


def post(pod: PodThread, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{pod.url}{path}", json=body, timeout=DEADLINE)


def completion(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "One, two, three,", "ignore_eos": True, **fields}


def events_of(lines: list[str]) -> list[Any]:
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def until_reset(client: socket.socket) -> bytes:
    """What is still to be read; the end must be an abort, not a close in peace."""
    received = b""
    with client:
        try:
            while part := client.recv(65536):
                received += part
        except ConnectionResetError:
            return received
    raise AssertionError("the connection was closed in peace")


def test_a_killed_engine_is_an_error_event_and_the_next_request_reloads(pod: PodThread) -> None:
    assert post(pod, "/v1/embeddings", {"model": "minilm", "input": "x"}).status_code == 200
    other = pod.engine("minilm")
    assert other is not None
    lines: list[str] = []
    with httpx.stream("POST", f"{pod.url}/v1/completions", timeout=DEADLINE,
                      json=completion("gemma", max_tokens=3000, stream=True)) as response:
        assert response.status_code == 200
        killed = False
        for line in response.iter_lines():
            lines.append(line)
            if not killed and len(events_of(lines)) >= 3:
                engine = pod.engine("gemma")
                assert engine is not None
                os.kill(engine["pid"], signal.SIGKILL)
                killed = True
    events = events_of(lines)
    assert events[-1]["error"]["code"] == "engine_crashed"
    assert "[DONE]" not in events
    assert not os.path.exists(f"/proc/{engine['pid']}")
    again = pod.engine("minilm")
    assert again is not None
    assert again["pid"] == other["pid"]
    assert post(pod, "/v1/completions", completion("gemma", max_tokens=2)).status_code == 200
    assert pod.model("gemma")["phase"] == "Ready"
    reloaded = pod.engine("gemma")
    assert reloaded is not None
    assert reloaded["pid"] != engine["pid"]


def test_a_stream_that_waits_for_a_load_hears_of_it(pod: PodThread) -> None:
    httpx.post(f"{pod.url}/models/default/gemma:unload", timeout=30)
    eventually(lambda: pod.engine("gemma") is None)
    with httpx.stream("POST", f"{pod.url}/v1/completions", timeout=DEADLINE,
                      json=completion("gemma", max_tokens=2, stream=True)) as response:
        lines = response.iter_lines()
        seen = [next(lines)]
        pid = eventually(lambda: (pod.engine("gemma") or {}).get("pid"))
        os.kill(pid, signal.SIGSTOP)
        try:
            while len([line for line in seen if line.startswith(":")]) < 5:
                seen.append(next(lines))
        finally:
            os.kill(pid, signal.SIGCONT)
        seen += list(lines)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert seen[0].startswith(": ")
    assert any(line.startswith(": loading") for line in seen)
    assert events_of(seen)[-1] == "[DONE]"


def test_leaving_in_prefill_ends_the_prompt_s_computing(pod: PodThread) -> None:
    post(pod, "/v1/completions", completion("gemma", max_tokens=1))
    before = pod.counter("gemma", "prompt_tokens_evaluated")
    prompt = " ".join(f"{number} foxes" for number in range(600))
    body = json.dumps(completion("gemma", max_tokens=1, stream=True) | {"prompt": prompt}).encode()
    with socket.create_connection(("127.0.0.1", pod.port)) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        eventually(lambda: pod.counter("gemma", "live") >= 1)
    eventually(lambda: pod.model("gemma")["busy"] == 0)
    eventually(lambda: pod.counter("gemma", "live") == 0)
    whole = post(pod, "/v1/completions", completion("gemma", max_tokens=1) | {"prompt": prompt}).json()["usage"]
    eventually(lambda: pod.counter("gemma", "prompt_tokens_evaluated") > before)
    assert whole["prompt_tokens"] > 2000
    assert whole["prompt_tokens_details"]["cached_tokens"] < whole["prompt_tokens"] - 100


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_while_the_model_loads_frees_the_queue(pod: PodThread, stream: bool) -> None:
    httpx.post(f"{pod.url}/models/default/gemma:unload", timeout=30)
    eventually(lambda: pod.engine("gemma") is None)
    body = json.dumps(completion("gemma", max_tokens=2, stream=stream)).encode()
    with socket.create_connection(("127.0.0.1", pod.port)) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        pid = eventually(lambda: (pod.engine("gemma") or {}).get("pid"))
        os.kill(pid, signal.SIGSTOP)
        try:
            assert pod.model("gemma")["waiting"] == 1
            client.close()
            eventually(lambda: pod.model("gemma")["waiting"] == 0)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert post(pod, "/v1/completions", completion("gemma", max_tokens=1)).status_code == 200


def test_a_reader_that_stalls_is_paused_then_cut_and_others_go_on(pod: PodThread) -> None:
    assert post(pod, "/v1/completions", completion("tiny", max_tokens=1)).status_code == 200
    start = pod.counter("tiny", "tokens_generated")
    body = json.dumps(completion("tiny", max_tokens=8000, stream=True)).encode()
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", pod.port))
    slow.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    assert slow.recv(16).startswith(b"HTTP/1.1 200")
    counts: list[int] = []

    def others() -> None:
        for _ in range(3):
            answer = post(pod, "/v1/completions", completion("tiny", max_tokens=200))
            counts.append(answer.json()["usage"]["completion_tokens"])

    busy = threading.Thread(target=others)
    busy.start()
    busy.join(DEADLINE)
    assert counts == [200, 200, 200]
    eventually(lambda: pod.model("tiny")["busy"] == 0)
    produced = eventually(lambda: pod.counter("tiny", "tokens_generated")) - start - 600
    assert 0 < produced < 4000
    received = until_reset(slow)
    assert b"[DONE]" not in received
    assert len(received) < 160 << 10


def test_a_stalled_reader_of_a_finished_answer_is_cut_too(pod: PodThread) -> None:
    inputs = json.dumps({"model": "minilm", "input": ["fox"] * 1000}).encode()
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", pod.port))
    slow.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(inputs) + inputs)
    assert slow.recv(16).startswith(b"HTTP/1.1 200")
    stalled = 'paddock_requests_total{code="499",endpoint="embeddings",model="default/minilm"}'
    eventually(lambda: stalled in httpx.get(f"{pod.url}/metrics").text)
    assert b'"usage"' not in until_reset(slow)


@pytest.mark.parametrize(("body", "status"), [
    (b'{"model": "gemma", "prompt": "' + b"x" * (9 << 20) + b'"}', 413),
    (b'{"a":' * 1_000_000, 400),
    (b"[" * 8_000_000, 400),
    (b'{"model": "gemma", "prompt": "x", "max_tokens": -5}', 400),
    (b'{"model": "gemma", "prompt": "x", "n": 1e400}', 400),
], ids=["large", "deep", "wide", "negative", "infinite"])
def test_hostile_bodies_are_refused_and_the_server_lives(pod: PodThread, body: bytes, status: int) -> None:
    response = httpx.post(f"{pod.url}/v1/completions", content=body, timeout=DEADLINE)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{pod.url}/livez").status_code == 200


def test_what_is_not_http_gets_an_error_of_ours(pod: PodThread) -> None:
    with socket.create_connection(("127.0.0.1", pod.port)) as client:
        client.sendall(b"GARBAGE\r\n\r\n")
        answer = b""
        while part := client.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "invalid_request"
