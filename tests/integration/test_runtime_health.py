"""`/livez` of a real server: it fails when what keeps the pod going does not, and not before."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from paddock_runtime.lifecycle import Limits
from paddock_runtime.lifecycle.decider import Decider
from paddock_runtime.lifecycle.watcher import Watcher
from tests.pod_kit import PodThread, eventually, write_model

Tiny = Callable[[int], Path]
ENGINE = {"contextLength": 512, "cacheTokens": 1024, "parallel": 4}


def serving(tmp_path: Path, tiny: Tiny, **limits: float) -> PodThread:
    folder = tmp_path / "models"
    folder.mkdir()
    write_model(folder, "a", tiny(0), engine=ENGINE)
    return PodThread(folder, tmp_path / "cache", limits=Limits(tick=0.1, **limits))  # type: ignore[arg-type]


def livez(pod: PodThread) -> tuple[int, str]:
    answer = httpx.get(f"{pod.url}/livez", timeout=30)
    return answer.status_code, answer.json().get("reason", "")


def ask(pod: PodThread) -> int:
    return httpx.post(f"{pod.url}/v1/completions", timeout=60,
                      json={"model": "a", "prompt": "Once", "max_tokens": 2}).status_code


def test_decisions_that_keep_failing(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """One failure is survived; a scheduler that fails each time is not, though all else answers."""
    with serving(tmp_path, tiny, decide_patience=2.0) as pod:
        right, failures = Decider._decide_now, 0

        def once(self: Decider) -> None:
            nonlocal failures
            failures += 1
            monkeypatch.setattr(Decider, "_decide_now", right)
            raise RuntimeError("one decision fails")

        monkeypatch.setattr(Decider, "_decide_now", once)
        assert ask(pod) == 200, "the next decision, which comes by itself, makes up for it"
        assert failures == 1
        assert livez(pod) == (200, "")

        def always(self: Decider) -> None:
            raise RuntimeError("every decision fails")

        monkeypatch.setattr(Decider, "_decide_now", always)
        status, reason = eventually(lambda: (found := livez(pod))[0] == 503 and found)
        assert status == 503
        assert reason.startswith("the scheduler did nothing for")
        monkeypatch.setattr(Decider, "_decide_now", right)
        eventually(lambda: livez(pod) == (200, ""))


def test_a_watcher_that_hangs(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(self: Watcher) -> None:
        await asyncio.Event().wait()

    with serving(tmp_path, tiny, watch_patience=1.0, memory_interval=0.1) as pod:
        assert livez(pod) == (200, "")
        monkeypatch.setattr(Watcher, "sample", hangs)
        eventually(lambda: livez(pod)[0] == 503)
        assert livez(pod)[1].startswith("the look at memory did nothing for")


def test_a_watcher_that_ended(tmp_path: Path, tiny: Tiny) -> None:
    with serving(tmp_path, tiny) as pod:
        assert livez(pod) == (200, "")
        assert pod._loop is not None
        pod._loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks()
                                                if task.get_name() == "watch time"])
        eventually(lambda: livez(pod) == (503, "the task 'watch time' has ended"))


def test_a_wedged_event_loop_leaves_the_probe_unanswered_and_is_forgiven_afterwards(tmp_path: Path, tiny: Tiny) -> None:
    with serving(tmp_path, tiny, watch_patience=4.0, decide_patience=4.0) as pod:
        assert livez(pod) == (200, "")
        assert pod._loop is not None
        pod._loop.call_soon_threadsafe(time.sleep, 6.0)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{pod.url}/livez", timeout=1.0)  # as a kubelet does
        eventually(lambda: livez(pod) == (200, ""))
        assert ask(pod) == 200


def test_a_child_that_is_stopped_is_no_reason_to_restart_the_pod(tmp_path: Path, tiny: Tiny) -> None:
    """The watchdog deals with it; meanwhile the pod is alive."""
    with serving(tmp_path, tiny, stats_timeout=2.0) as pod:
        assert ask(pod) == 200
        engine = pod.engine("a")
        assert engine is not None
        os.kill(engine["pid"], signal.SIGSTOP)
        eventually(lambda: pod.engine("a") is None)
        assert livez(pod) == (200, "")
        assert ask(pod) == 200
