"""Under load, `contextLength` and `temperature` change in turn: only the former loads anything, no request fails, and
each answer is that of the revision it names, whole."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import models
from tests.pod_kit import DEADLINE, PodThread, eventually, write_model

PROMPT = {"prompt": "Once upon a time", "max_tokens": 8, "ignore_eos": True}
WILD = {"temperature": 2.0, "topK": 0, "topP": 1.0, "minP": 0.0}


@dataclass(frozen=True)
class Setting:
    """What tells a revision's answers from another's: a full context's length, and whether 8 tokens are the likeliest
    ones. At temperature 2 they are so once in 10^9 answers or less."""

    context: int
    wild: bool

    def write(self, folder: Path) -> None:
        """Renamed into place: half a manifest would be refused."""
        aside = folder.parent / "aside"
        aside.mkdir(exist_ok=True)
        write_model(aside, "a", models.full(), defaults=WILD if self.wild else {"temperature": 0},
                    engine={"contextLength": self.context, "cacheTokens": 1024, "parallel": 4})
        os.replace(aside / "a.yaml", folder / "a.yaml")


@dataclass(frozen=True)
class Seen:
    """One answer: the revisions that its parts name, and what it shows of how it was made."""

    revisions: frozenset[str]
    text: str
    tokens: int | None


class Load:
    """Clients that ask without a pause: for 8 tokens, for the same in a stream, and for all that the context holds."""

    def __init__(self, pod: PodThread) -> None:
        self._pod = pod
        self._over = threading.Event()
        self.brief: list[Seen] = []
        self.streamed: list[Seen] = []
        self.filled: list[Seen] = []

    def run(self, clients: ThreadPoolExecutor) -> list[Future[None]]:
        asks = (self._brief, self._stream, self._fill)
        return [clients.submit(self._again_and_again, ask) for ask in asks for _ in range(2)]

    def end(self) -> None:
        self._over.set()

    def wait_for(self, revision: str) -> None:
        """Until it has answered."""
        eventually(lambda: any(revision in seen.revisions for seen in self.brief))

    def _again_and_again(self, ask: Any) -> None:
        with httpx.Client(base_url=self._pod.url, timeout=DEADLINE) as client:
            while not self._over.is_set():
                ask(client)

    def _brief(self, client: httpx.Client) -> None:
        self.brief.append(_whole(client, PROMPT))

    def _fill(self, client: httpx.Client) -> None:
        self.filled.append(_whole(client, {"prompt": "Once upon a time", "ignore_eos": True}))

    def _stream(self, client: httpx.Client) -> None:
        body = {"model": "a", "stream": True, **PROMPT}
        revisions, text = set(), ""
        with client.stream("POST", "/v1/completions", json=body) as answer:
            assert answer.status_code == 200, answer.read()
            lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]", lines
        for line in lines[:-1]:
            chunk = json.loads(line)
            revisions.add(chunk["system_fingerprint"])
            text += chunk["choices"][0]["text"]
        self.streamed.append(Seen(frozenset(revisions), text, None))


def _whole(client: httpx.Client, body: dict[str, Any]) -> Seen:
    answer = client.post("/v1/completions", json={"model": "a", **body})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return Seen(frozenset({found["system_fingerprint"]}), found["choices"][0]["text"], found["usage"]["total_tokens"])


@pytest.mark.parametrize("changes", [12, pytest.param(60, marks=pytest.mark.nightly)])
def test_alternating_changes_under_load(tmp_path: Path, changes: int) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    setting = Setting(64, wild=False)
    setting.write(folder)
    with PodThread(folder, tmp_path / "cache") as pod, ThreadPoolExecutor(6) as clients:
        load = Load(pod)
        tasks = load.run(clients)
        try:
            first = eventually(lambda: pod.model("a")["active_revision"])
            settings: dict[str, Setting] = {first: setting}
            assert pod.model("a")["loads"] == 1
            load.wait_for(first)
            loads = [1]
            for number in range(changes):
                began = time.monotonic()
                shape = number % 2 == 0
                # always a new length: a context that still drains would need no load
                setting = Setting(setting.context + shape, setting.wild ^ (not shape))
                before = pod.model("a")["active_revision"]
                setting.write(folder)

                def switched(before: str = before) -> dict[str, Any] | None:
                    model = pod.model("a")
                    done = model["active_revision"] == model["desired_revision"] != before
                    return model if done else None

                model = eventually(switched)
                serving = model["active_revision"]
                settings[serving] = setting
                load.wait_for(serving)
                loads.append(model["loads"])
                assert loads[-1] - loads[-2] == (1 if shape else 0), f"change {number}"
                time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))  # the pace of the changes
        finally:
            load.end()
        for task in tasks:
            task.result(DEADLINE)  # a failed request fails the test here
        assert pod.model("a")["failure"] is None

    assert len(settings) == changes + 1
    likeliest = next(seen.text for seen in load.brief if seen.revisions == {first})
    for seen in (*load.brief, *load.streamed):
        (revision,) = seen.revisions
        assert (seen.text == likeliest) != settings[revision].wild, (seen, settings[revision])
    for seen in load.filled:
        (revision,) = seen.revisions
        assert seen.tokens == settings[revision].context, (seen, settings[revision])
    for answers in (load.streamed, load.filled):
        assert len({revision for seen in answers for revision in seen.revisions}) >= 3, "else this showed little"
