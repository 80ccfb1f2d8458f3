"""Faults 1, 16 and 17 and the hold contract, over real sockets: what a client sees, and that others see nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    settings = Settings(headers_after=0.2, heartbeat=0.2, stall=20.0)
    with PodThread(folder, tmp_path_factory.mktemp("cache"), settings=settings,
                   limits=Limits(stall_seconds=600)) as pod:
        yield pod


def post(pod: PodThread, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{pod.url}{path}", json=body, timeout=DEADLINE)


def completion(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "One, two, three,", "ignore_eos": True, **fields}


def events_of(lines: list[str]) -> list[Any]:
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def slow_request(pod: PodThread, path: str, body: dict[str, Any]) -> socket.socket:
    """A request whose client takes only what it is told to, through a small window."""
    data = json.dumps(body).encode()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", pod.port))
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
    client.sendall(head.encode() + data)
    return client


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


def pid_of(pod: PodThread, name: str) -> int:
    engine = pod.engine(name)
    assert engine is not None
    return int(engine["pid"])


def stop_when_started(pod: PodThread, name: str) -> int:
    """Stops the engine as soon as it is there: it is loading for as long as the test wants. Gives its pid."""
    pid: int = eventually(lambda: (pod.engine(name) or {}).get("pid"))
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_a_killed_engine_is_an_error_event_and_the_next_request_reloads(pod: PodThread) -> None:
    assert post(pod, "/v1/embeddings", {"model": "minilm", "input": "x"}).status_code == 200
    other = pid_of(pod, "minilm")
    lines: list[str] = []
    with httpx.stream("POST", f"{pod.url}/v1/completions", timeout=DEADLINE,
                      json=completion("gemma", max_tokens=3000, stream=True)) as response:
        assert response.status_code == 200
        killed = 0
        for line in response.iter_lines():
            lines.append(line)
            if not killed and len(events_of(lines)) >= 3:
                killed = pid_of(pod, "gemma")
                os.kill(killed, signal.SIGKILL)
    events = events_of(lines)
    assert events[-1]["error"]["code"] == "engine_crashed"
    assert "[DONE]" not in events
    assert not os.path.exists(f"/proc/{killed}")
    assert pid_of(pod, "minilm") == other
    assert post(pod, "/v1/completions", completion("gemma", max_tokens=2)).status_code == 200
    assert pod.model("gemma")["phase"] == "Ready"
    assert pid_of(pod, "gemma") != killed


def test_a_stream_that_waits_for_a_load_hears_of_it(pod: PodThread) -> None:
    httpx.post(f"{pod.url}/models/default/gemma:unload", timeout=30)
    eventually(lambda: pod.engine("gemma") is None)
    seen: list[str] = []
    with ThreadPoolExecutor(1) as aside:
        stopped = aside.submit(stop_when_started, pod, "gemma")
        with httpx.stream("POST", f"{pod.url}/v1/completions", timeout=DEADLINE,
                          json=completion("gemma", max_tokens=2, stream=True)) as response:
            for line in response.iter_lines():
                seen.append(line)
                if len([line for line in seen if line.startswith(":")]) == 5:
                    os.kill(stopped.result(), signal.SIGCONT)
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
    assert post(pod, "/v1/completions", completion("gemma", max_tokens=1)).status_code == 200
    evaluated = pod.counter("gemma", "prompt_tokens_evaluated") - before
    assert 0 < evaluated < 4 * 600  # each of the 600 lines has more than four tokens


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_while_the_model_loads_frees_the_queue(pod: PodThread, stream: bool) -> None:
    httpx.post(f"{pod.url}/models/default/gemma:unload", timeout=30)
    eventually(lambda: pod.engine("gemma") is None)
    body = json.dumps(completion("gemma", max_tokens=2, stream=stream)).encode()
    with socket.create_connection(("127.0.0.1", pod.port)) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        pid = stop_when_started(pod, "gemma")
        try:
            assert pod.model("gemma")["waiting"] == 1
            client.close()
            eventually(lambda: pod.model("gemma")["waiting"] == 0)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert post(pod, "/v1/completions", completion("gemma", max_tokens=1)).status_code == 200


def test_a_reader_that_stalls_is_paused_then_cut_and_others_go_on(pod: PodThread) -> None:
    assert post(pod, "/v1/completions", completion("tiny", max_tokens=1)).status_code == 200
    eventually(lambda: pod.counter("tiny", "tokens_generated") >= 1)
    start = pod.counter("tiny", "tokens_generated")
    slow = slow_request(pod, "/v1/completions", completion("tiny", max_tokens=8000, stream=True))
    assert slow.recv(16).startswith(b"HTTP/1.1 200")
    paused = eventually(lambda: at_rest(pod, "tiny", above=start))
    assert paused - start < 2000  # of 8000: what 64 KiB and the kernel's buffers hold
    counts = [post(pod, "/v1/completions", completion("tiny", max_tokens=200)).json()["usage"]["completion_tokens"]
              for _ in range(3)]
    assert counts == [200, 200, 200]
    assert pod.model("tiny")["busy"] == 1
    eventually(lambda: pod.model("tiny")["busy"] == 0)
    assert at_rest(pod, "tiny", above=start) == paused + 600
    received = until_reset(slow)
    assert b"[DONE]" not in received
    assert len(received) < 160 << 10


def at_rest(pod: PodThread, name: str, *, above: int) -> int:
    """Tokens generated, once they are more than `above` and three seconds (and readings) bring no more; else 0."""
    before = pod.counter(name, "tokens_generated")
    time.sleep(3)
    return before if above < before == pod.counter(name, "tokens_generated") else 0


def test_a_stalled_reader_of_a_finished_answer_is_cut_too(pod: PodThread) -> None:
    slow = slow_request(pod, "/v1/embeddings", {"model": "minilm", "input": ["fox"] * 1000})
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
