"""Verified switches with real engines: Gemma requantised to Q2_K is a revision that loads well and answers badly.

Measured (Jensen-Shannon, nats) after STORY: Q4_K_M to Q8_0 0.003, to Q2_K 0.19, to itself in another batch at most
0.005. After FRANCE: 0.003 and 0.086. So 0.03 tells a good requantisation from a bad one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from paddock_api.pool import PoolEntry
from paddock_api.revision import Resolution, revision_of
from paddock_api.state import Phase
from paddock_runtime.jobs import Accepted, Served
from paddock_runtime.record import open_record
from tests import models
from tests.lifecycle_kit import MIB, Answer, Pod, entry, first_text, quick, running, tiny_entry, until
from tests.runtime_kit import digest

Tiny = Callable[[int], Path]
STORY, FRANCE = "Once upon a time there was a", "The capital of France is"
CLOSE = {"prompt": STORY, "maxDistance": 0.03}
CAPITAL = {"prompt": FRANCE, "contains": "the capital", "maxTokens": 6}
ENGINE = {"contextLength": 512, "cacheTokens": 1024, "parallel": 4}
ONE_GEMMA = 700 * MIB


def gemma_entry(path: Path, *checks: dict[str, Any], **spec: Any) -> PoolEntry:
    return entry("a", path, engine=ENGINE, verify=list(checks), **spec)


def served_by(answer: Answer) -> str:
    return next(output for output in answer.outputs if isinstance(output, Accepted)).served.revision.id


class Clients:
    """Ask without a pause; each answer is kept."""

    def __init__(self, pod: Pod, count: int = 2) -> None:
        self.answers: list[Answer] = []
        self._over = False
        self._tasks = [asyncio.create_task(self._ask(pod)) for _ in range(count)]

    async def _ask(self, pod: Pod) -> None:
        while not self._over:
            self.answers.append(await pod.ask("a", STORY, tokens=4))

    async def more(self) -> None:
        """Until each has had an answer to a request that is sent from now on."""
        enough = len(self.answers) + 2 * len(self._tasks)
        await until(lambda: len(self.answers) >= enough, "more answers")

    async def end(self) -> list[str]:
        """The revisions that answered, in order. No request failed."""
        self._over = True
        await asyncio.gather(*self._tasks)
        assert [answer.code for answer in self.answers if not answer.complete] == []
        return [served_by(answer) for answer in self.answers]


@asynccontextmanager
async def asked_all_the_time(pod: Pod) -> AsyncIterator[Clients]:
    clients = Clients(pod)
    await clients.more()
    try:
        yield clients
    finally:
        await clients.end()


def outcome(pod: Pod) -> dict[str, Any]:
    return pod.events("verify", "a")[-1].data


@pytest.fixture(scope="session")
def gemma_q2() -> Path:
    """The same model as `gemma`, with too few bits."""
    return models.gemma_as("Q2_K")


@pytest.mark.parametrize("memory", [4096 * MIB, ONE_GEMMA], ids=["beside", "one after the other"])
async def test_a_close_revision_takes_over_without_a_failed_request(
        tmp_path: Path, gemma: Path, gemma_q8: Path, memory: int) -> None:
    async with running(tmp_path, memory=memory) as pod:
        pod.apply(gemma_entry(gemma))
        async with asked_all_the_time(pod) as clients:
            old = pod.model("a").revision
            pod.apply(gemma_entry(gemma_q8, CLOSE, CAPITAL))
            new = pod.entries["default/a"].desired.id
            await until(lambda: pod.model("a").active_revision == new)
            told = outcome(pod)
            await clients.more()
            order = await clients.end()
        assert list(dict.fromkeys(order)) == [old, new], "no request before it was verified, none to the old after"
        assert (told["outcome"], told["checks"]) == ("passed", 2)
        assert 0 < told["distances"]["0"] < 0.03
        assert pod.model("a").bad_revisions == []
        left = pod.phases("a").count("Loading") > 1
        assert left == (memory == ONE_GEMMA), "it had to leave only where both don't fit"


@pytest.mark.parametrize("memory", [4096 * MIB, ONE_GEMMA], ids=["beside", "one after the other"])
async def test_a_distant_revision_is_bad_and_no_request_meets_it(
        tmp_path: Path, gemma: Path, gemma_q2: Path, memory: int) -> None:
    """Where both don't fit, the reference is recorded before the old one leaves, and it comes back by itself."""
    async with running(tmp_path, memory=memory) as pod:
        pod.apply(gemma_entry(gemma))
        async with asked_all_the_time(pod) as clients:
            old = pod.model("a").revision
            pod.apply(gemma_entry(gemma_q2, CLOSE))
            bad = pod.entries["default/a"].desired.id
            await until(lambda: pod.model("a").bad_revisions == [bad])
            await clients.more()
            assert set(await clients.end()) == {old}
        state = pod.model("a")
        assert (state.phase, state.active_revision, state.desired_revision) == (Phase.READY, old, bad)
        assert state.failure is not None
        assert (state.failure.reason, state.failure.retry_at) == ("verify_failed", None)
        for words in ("spec.verify[0] (maxDistance)", STORY, "more than 0.03", "nats"):
            assert words in state.failure.message
        told = outcome(pod)
        assert told["outcome"] == "failed"
        assert told["distances"]["0"] > 0.1
        assert f"{told['distances']['0']:.4f}" in state.failure.message
        assert told["evidence"] == state.failure.message
        assert (pod.phases("a").count("Loading") > 1) == (memory == ONE_GEMMA)
        await until(lambda: len(pod.engines) == 1, "the bad one has left")
        assert len(pod.events("verify", "a")) == 1, "and is not tried again"


async def test_an_idle_model_gets_its_old_revision_back(tmp_path: Path, gemma: Path, gemma_q2: Path) -> None:
    async with running(tmp_path, memory=ONE_GEMMA) as pod:
        pod.apply(gemma_entry(gemma))
        assert (await pod.ask("a")).error is None
        old = pod.model("a").revision
        pod.apply(gemma_entry(gemma_q2, CAPITAL))
        await until(lambda: pod.events("verify", "a") != [])
        assert outcome(pod)["outcome"] == "failed"
        await until(lambda: pod.model("a").active_revision == old)
        failure = pod.model("a").failure
        assert failure is not None
        assert 'expected "the capital" in the answer, got "' in failure.message
        assert pod.model("a").last_used is not None


@pytest.mark.parametrize(("check", "words"), [
    ({"prompt": "1, 2, 3, 4,", "schema": {"type": "integer", "minimum": 5}, "maxTokens": 2}, None),
    ({"prompt": "1, 2, 3, 4,", "schema": {"type": "integer", "minimum": 6}, "maxTokens": 2}, "breaks minimum 6"),
    ({"prompt": FRANCE, "matches": "(?i)THE [a-z]+ital", "maxTokens": 6}, None),
    ({"prompt": FRANCE, "matches": "^Paris$", "maxTokens": 6}, 'matches "^Paris$", got " the'),
    ({"prompt": "word " * 600, "contains": "x"}, "the engine refused it: prompt has"),
    (CLOSE, None),
])
async def test_a_first_revision_is_verified_too(
        tmp_path: Path, gemma: Path, check: dict[str, Any], words: str | None) -> None:
    """Its distance has nothing to be measured from, and passes."""
    async with running(tmp_path) as pod:
        pod.apply(gemma_entry(gemma, check))
        answer = await pod.ask("a", FRANCE)
        assert pod.events("verify", "a") != []
        if words is None:
            assert answer.complete
            return
        assert answer.code == "verify_failed"
        assert words in str(answer.error)
        assert (await pod.ask("a")).code == "verify_failed"
        await until(lambda: pod.engines == [] and pod.phase("a") is Phase.FAILED)
        assert Phase.READY not in pod.phases("a")
        assert len(pod.events("verify", "a")) == 1


async def test_while_it_is_verified_it_takes_no_request_and_is_not_in_use(tmp_path: Path, tiny: Tiny) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def chat(served: Served, messages: list[dict[str, Any]]) -> str:
        asked.set()
        await go.wait()
        return str(messages[0]["content"])

    check = {"messages": [{"role": "user", "content": "Once"}], "matches": ".|^$", "maxTokens": 4}
    async with running(tmp_path, chat=chat) as pod:
        pod.apply(tiny_entry("a", tiny(0), verify=[check], loading={"idleTimeout": "0s"}))
        waiting = asyncio.create_task(pod.ask("a"))
        await asked.wait()
        await asyncio.sleep(0.6)  # a tick of the watcher: nothing idle is unloaded
        state = pod.model("a")
        assert (state.phase, state.active_revision, state.waiting, state.busy) == (Phase.LOADING, None, 1, 0)
        assert state.last_used is None
        assert len(pod.engines) == 1
        go.set()
        assert (await waiting).complete


async def test_proven_stays_proven(tmp_path: Path, tiny: Tiny) -> None:
    """Over an unload, over a change that touches neither file nor checks, and over a restart, by what was good last."""
    check = {"prompt": "Once", "matches": ".|^$", "maxTokens": 4}
    path = tiny(0)
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", path, verify=[check]))
        assert (await pod.ask("a")).complete
        await pod.supervisor.unload(pod.supervisor.resolve("a"))
        await until(lambda: pod.engines == [])
        assert (await pod.ask("a")).complete
        pod.apply(tiny_entry("a", path, verify=[check], defaults={"temperature": 0.1}))
        assert served_by(await pod.ask("a")) == pod.entries["default/a"].desired.id
        assert [event.data["outcome"] for event in pod.events("verify", "a")] == ["passed"]
        pod.apply(tiny_entry("a", path, verify=[check, {**check, "maxTokens": 5}]))
        await until(lambda: pod.model("a").active_revision == pod.entries["default/a"].desired.id)
        assert len(pod.events("verify", "a")) == 2, "other checks are other checks"
        assert len(pod.events("engine_started")) == 2, "which need no load"
        spec = pod.entries["default/a"].desired.spec
    resolved = revision_of(spec, Resolution(files=[str(path)], sha256=digest(path)))
    async with running(tmp_path) as pod:
        pod.apply(PoolEntry(namespace="default", name="a", desired=resolved, last_good=resolved))
        assert (await pod.ask("a")).complete
        assert pod.events("verify", "a") == []


async def test_what_was_proven_is_kept_over_a_restart(tmp_path: Path, tiny: Tiny) -> None:
    check = {"prompt": "Once", "matches": ".|^$", "maxTokens": 4}
    for seed, verified in ((0, 1), (0, 0), (1, 1)):
        record = open_record(tmp_path / "record", "pod")
        async with running(tmp_path, record=record) as pod:
            pod.apply(tiny_entry("a", tiny(seed), verify=[check]))
            assert (await pod.ask("a")).complete
            assert len(pod.events("verify", "a")) == verified
        record.close()
    (tmp_path / "record" / "pod.sqlite3").write_bytes(b"\xff")
    record = open_record(tmp_path / "record", "pod")
    async with running(tmp_path, record=record) as pod:
        pod.apply(tiny_entry("a", tiny(0), verify=[check]))
        assert (await pod.ask("a")).complete
        assert len(pod.events("verify", "a")) == 1, "what can't be read proves nothing"
    record.close()


async def test_new_checks_on_the_same_weights_fail_without_a_load(tmp_path: Path, gemma: Path) -> None:
    async with running(tmp_path) as pod:
        pod.apply(gemma_entry(gemma))
        async with asked_all_the_time(pod) as clients:
            old = pod.model("a").revision
            pod.apply(gemma_entry(gemma, {"prompt": FRANCE, "contains": "Atlantis", "maxTokens": 4}))
            await until(lambda: pod.model("a").bad_revisions != [])
            await clients.more()
            assert set(await clients.end()) == {old}
        assert len(pod.events("engine_started")) == 1
        pod.apply(gemma_entry(gemma, CLOSE))
        await until(lambda: pod.model("a").active_revision == pod.entries["default/a"].desired.id)
        assert outcome(pod)["distances"]["0"] < 0.03


async def test_a_verification_has_a_deadline(tmp_path: Path, tiny: Tiny) -> None:
    async def chat(served: Served, messages: list[dict[str, Any]]) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    check = {"messages": [{"role": "user", "content": "Once"}], "contains": "x"}
    async with running(tmp_path, chat=chat, limits=quick(verify_timeout=0.2)) as pod:
        pod.apply(tiny_entry("a", tiny(0), verify=[check]))
        answer = await pod.ask("a")
        assert answer.code == "verify_failed"
        assert "not through in 0 s" in str(answer.error)


async def test_what_the_configuration_no_longer_wants_is_not_verified_further(tmp_path: Path, tiny: Tiny) -> None:
    asked: list[str] = []
    go = asyncio.Event()

    async def chat(served: Served, messages: list[dict[str, Any]]) -> str:
        asked.append(served.revision.id)
        await go.wait()
        return "Once"

    check = {"messages": [{"role": "user", "content": "Once"}], "contains": "what it never says"}
    async with running(tmp_path, chat=chat) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        stream = pod.submit("a", tokens=300)
        await first_text(stream)
        old = pod.model("a").revision
        pod.apply(tiny_entry("a", tiny(1), verify=[check]))
        await until(lambda: asked != [])
        assert pod.model("a").active_revision == old
        pod.apply(tiny_entry("a", tiny(0)))
        go.set()
        await until(lambda: len(pod.engines) == 1)
        assert (await pod.ask("a")).complete
        assert pod.events("verify", "a") == []
        await stream.aclose()
        pod.apply()
        await until(lambda: pod.engines == [])


async def test_an_engine_that_dies_of_its_checks_twice_failed_them(tmp_path: Path, tiny: Tiny) -> None:
    """A crash alone may have any cause: the first is tried again."""
    pods: list[Pod] = []

    async def chat(served: Served, messages: list[dict[str, Any]]) -> str:
        core = pods[0].supervisor._core
        engine = next(each for each in core.pool.engines.values() if each.facts is served.facts)
        assert engine.client.process is not None
        engine.client.process.kill()
        await asyncio.Event().wait()
        raise AssertionError

    check = {"messages": [{"role": "user", "content": "Once"}], "contains": "x"}
    async with running(tmp_path, chat=chat) as pod:
        pods.append(pod)
        pod.apply(tiny_entry("a", tiny(0)))
        assert (await pod.ask("a")).complete
        old = pod.model("a").revision
        pod.apply(tiny_entry("a", tiny(1), verify=[check]))
        await until(lambda: pod.model("a").bad_revisions != [])
        failure = pod.model("a").failure
        assert failure is not None
        assert (failure.reason, pod.model("a").active_revision) == ("verify_failed", old)
        assert "died twice" in failure.message
        assert (await pod.ask("a")).complete
