"""Fault 13: SIGTERM while requests run. Not ready at once, new work for a few seconds more, then the drain, and at its
end an error event and exit code 0."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.pod_kit import eventually
from tests.runtime_kit import RuntimePod, sent_events

Tiny = Callable[[int], Path]
ACCEPT = 5.0


class Streaming(threading.Thread):
    """Reads one streamed answer to its end. `begun` after the first text."""

    def __init__(self, pod: RuntimePod, tokens: int, *, model: str = "a") -> None:
        super().__init__()
        self._pod, self._tokens, self._model = pod, tokens, model
        self.begun = threading.Event()
        self.data: list[Any] = []
        self.failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        body = {"model": self._model, "prompt": "Once upon a time", "max_tokens": self._tokens, "temperature": 0,
                "ignore_eos": True, "stream": True}
        try:
            with httpx.stream("POST", f"{self._pod.url}/v1/completions", json=body, timeout=60, headers={
                    **self._pod.client.headers, "paddock-model": f"team/{self._model}"}) as response:
                for event in sent_events(response):
                    self.data.append(event.data)
                    if event.data == "[DONE]" or event.data.get("choices", [{}])[0].get("text"):
                        self.begun.set()
        except BaseException as error:  # noqa: BLE001  handed to the test
            self.failure = error

    def end(self) -> list[Any]:
        self.join(300)
        assert not self.is_alive()
        if self.failure is not None:
            raise self.failure
        return self.data


def long_running(tmp_path: Path, gemma: Path, drain: float) -> RuntimePod:
    pod = RuntimePod(tmp_path, PADDOCK_DRAIN_SECONDS=f"{drain:g}")
    pod.put("gemma.gguf", gemma)
    pod.push(pod.entry("a", pod.in_volume("gemma.gguf", engine={"contextLength": 8192, "cacheTokens": 16384})))
    return pod


def ready(pod: RuntimePod) -> int:
    return httpx.get(f"{pod.url}/readyz", timeout=10).status_code


def test_streams_finish_new_work_is_taken_for_a_while_then_refused(tmp_path: Path, gemma: Path) -> None:
    with long_running(tmp_path, gemma, 600) as pod:
        assert pod.complete("a").status_code == 200
        stream = Streaming(pod, 400)
        assert stream.begun.wait(60)
        asked = time.monotonic()
        pod.signal()
        eventually(lambda: ready(pod) == 503, within=ACCEPT - 1)
        assert pod.state()["draining"] is True
        assert time.monotonic() - asked < ACCEPT - 1, "the machine is too slow for this test to say anything"
        late = Streaming(pod, 400)  # taken, since not everybody has heard yet
        assert late.begun.wait(60)
        refused = eventually(lambda: (answer := pod.complete("a")).status_code == 503 and answer, within=30)
        assert time.monotonic() - asked >= ACCEPT
        assert refused.json()["error"]["code"] == "draining"
        assert int(refused.headers["retry-after"]) >= 1
        for each in (stream, late):
            data = each.end()
            assert data[-1] == "[DONE]"
            assert data[-2]["choices"][0]["finish_reason"] == "length"
        assert pod.wait() == 0
        assert pod.log()[-1]["message"] == "ended"


def test_at_the_deadline_a_stream_gets_an_error_event_and_no_done(tmp_path: Path, gemma: Path) -> None:
    with long_running(tmp_path, gemma, 6) as pod:
        stream = Streaming(pod, 8000)
        assert stream.begun.wait(60)
        pod.signal()
        data = stream.end()
        assert data[-1]["error"]["code"] == "draining"
        assert "[DONE]" not in data
        assert pod.wait() == 0


def test_an_idle_pod_ends_after_the_time_in_which_it_takes_work(tmp_path: Path, tiny: Tiny) -> None:
    with RuntimePod(tmp_path, PADDOCK_DRAIN_SECONDS="60") as pod:
        asked = time.monotonic()
        assert pod.stop() == 0
        assert ACCEPT <= time.monotonic() - asked < 40


@pytest.mark.parametrize("drain", ["0", "1"])
def test_a_short_drain_is_obeyed(tmp_path: Path, tiny: Tiny, drain: str) -> None:
    with RuntimePod(tmp_path, PADDOCK_DRAIN_SECONDS=drain) as pod:
        pod.put("a.gguf", tiny(0))
        pod.apply(pod.entry("a", pod.in_volume("a.gguf")))
        assert pod.complete("a").status_code == 200
        asked = time.monotonic()
        assert pod.stop() == 0
        assert time.monotonic() - asked < ACCEPT + 20


def test_the_second_signal_does_not_wait(tmp_path: Path, gemma: Path) -> None:
    with long_running(tmp_path, gemma, 600) as pod:
        stream = Streaming(pod, 8000)
        assert stream.begun.wait(60)
        pod.signal()
        eventually(lambda: ready(pod) == 503)
        pod.signal()
        assert pod.wait() == 0
        stream.join(60)
        assert "[DONE]" not in stream.data
