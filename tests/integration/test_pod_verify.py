"""Verified switches of a whole pod: chats by the Model's own template, the evidence in `/state`, and a restart."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests import models
from tests.pod_kit import DEADLINE, PodThread, eventually, write_model

SMALL = {"contextLength": 512, "cacheTokens": 1024, "parallel": 4}
PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"
CHAT = [{"role": "user", "content": "The capital of France is"}]
CAPITAL = {"messages": CHAT, "contains": "the capital", "maxTokens": 6}


def write(folder: Path, template: str, *checks: dict[str, Any]) -> None:
    aside = folder.parent / "aside"
    aside.mkdir(exist_ok=True)
    write_model(aside, "a", models.gemma(), engine={**SMALL, "chatTemplate": template}, verify=list(checks))
    os.replace(aside / "a.yaml", folder / "a.yaml")


def ask(pod: PodThread) -> httpx.Response:
    body = {"model": "a", "messages": CHAT, "max_tokens": 6, "temperature": 0}
    return httpx.post(f"{pod.url}/v1/chat/completions", json=body, timeout=DEADLINE)


def test_a_template_that_spoils_the_answers_never_serves(tmp_path: Path) -> None:
    folder, record = tmp_path / "models", tmp_path / "record"
    folder.mkdir()
    write(folder, PLAIN, CAPITAL)
    with PodThread(folder, tmp_path / "cache", record=record) as pod:
        answer = ask(pod)
        assert answer.status_code == 200, answer.text
        good = answer.json()["system_fingerprint"]
        seen: list[str] = []
        for template, words in (
            ("Nothing of it.", 'expected "the capital" in the answer, got "'),
            ("{{ messages[0].content.nothing.at_all }}", "its chat could not be rendered"),
        ):
            write(folder, template, CAPITAL)

            def failed(before: tuple[str, ...] = tuple(seen)) -> dict[str, Any] | None:
                model = pod.model("a")
                answer = ask(pod)
                assert (answer.status_code, answer.json()["system_fingerprint"]) == (200, good)
                return model if model["bad_revisions"] and model["bad_revisions"][0] not in before else None

            model = eventually(failed)
            seen += model["bad_revisions"]
            assert model["bad_revisions"] == [model["desired_revision"]]
            assert (model["active_revision"], model["phase"], model["loads"]) == (good, "Ready", 1)
            assert model["failure"]["reason"] == "verify_failed"
            assert words in model["failure"]["message"]
            assert 'spec.verify[0] (contains) on "The capital of France is"' in model["failure"]["message"]
        write(folder, PLAIN, CAPITAL)
        eventually(lambda: pod.model("a")["bad_revisions"] == [])
    proofs = "SELECT time FROM documents WHERE kind = 'proof'"
    with closing(sqlite3.connect(record / "local.sqlite3")) as database:
        once = database.execute(proofs).fetchall()
    with PodThread(folder, tmp_path / "cache", record=record) as pod:
        assert ask(pod).json()["system_fingerprint"] == good
    with closing(sqlite3.connect(record / "local.sqlite3")) as database:
        assert (len(once), database.execute(proofs).fetchall()) == (1, once), "it was verified once"
