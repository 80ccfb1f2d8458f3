"""Conversations outlive what unloads, evicts and kills; warm-up prompts serve all tenants; what is out of use goes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from paddock_api.state import Phase
from paddock_runtime.engine.promptfiles import digest
from paddock_runtime.engine.types import Charge
from paddock_runtime.jobs import Accepted
from tests.lifecycle_kit import MIB, Answer, Faulty, Pod, entry, quick, running, tiny_entry, until
from tests.pod_kit import eventually
from tests.runtime_kit import PATIENCE, RuntimePod

Tiny = Callable[[int], Path]
ONE = 70 * MIB  # room for one tiny Model, not for two
SMALL = Faulty(charge=Charge(weights_bytes=48 * MIB, context_bytes=12 * MIB))
PROMPT = [20 + 7 * number % 380 for number in range(300)]
OWN = [20 + 11 * number % 380 for number in range(300)]


def accepted(answer: Answer) -> Accepted:
    assert answer.error is None, answer.error
    return next(output for output in answer.outputs if isinstance(output, Accepted))


def evaluated(pod: Pod, model: str) -> int:
    """Prompt tokens that the context of `model` has computed since it opened."""
    found = pod.supervisor._core.registry.resolve(model)
    unit = pod.supervisor._core.ready_unit(pod.supervisor._core.registry.get(found))
    assert unit is not None
    stats = unit.engine.stats
    return 0 if stats is None else next(each.prompt_tokens_evaluated for each in stats.contexts
                                        if each.context == unit.number)


def files(folder: Path, model: str = "*") -> list[Path]:
    return sorted(folder.glob(f"*/{model}-*.prompt"))


async def test_a_long_conversation_with_an_evicted_model_goes_on_without_being_computed_again(
        tmp_path: Path, gemma: Path) -> None:
    text = "In the beginning there was a word, and the word was written down. " * 140
    async with running(tmp_path, prompts=tmp_path / "prompts") as pod:
        pod.apply(entry("gemma", gemma, engine={"contextLength": 4096}))
        first = await pod.ask("gemma", text, tokens=20, deadline=300)
        prompt_tokens = accepted(first).prompt_tokens
        assert prompt_tokens > 2000
        await pod.supervisor.unload(pod.supervisor.resolve("gemma"))
        await until(lambda: pod.phase("gemma") is Phase.CACHED)
        assert pod.engines == []
        again = await pod.ask("gemma", text + " And then?", tokens=20, deadline=300)
        assert accepted(again).cached_tokens >= prompt_tokens - 2
        await until(lambda: evaluated(pod, "gemma") > 0)
        assert evaluated(pod, "gemma") <= 8
        assert pod.model("gemma").loads == 2


async def test_models_that_take_turns_keep_their_conversations(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, memory=ONE, types=[SMALL], prompts=tmp_path / "prompts") as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        for turn in range(3):
            for model in ("a", "b"):
                answer = await pod.ask(model, PROMPT[: 200 + 10 * turn], tokens=2)
                assert accepted(answer).cached_tokens >= (0 if not turn else 190 + 10 * turn)
        assert pod.model("a").loads == 3


async def test_warm_up_serves_two_tenants_and_the_prompt_of_one_not_the_other(tmp_path: Path, tiny: Tiny) -> None:
    prompt = "You are the keeper of a stable. Answer each question about horses in one short sentence. " * 2
    async with running(tmp_path, prompts=tmp_path / "prompts") as pod:
        pod.apply(tiny_entry("a", tiny(0), loading={"warmup": [prompt]}))
        await pod.supervisor.load(pod.supervisor.resolve("a"))
        await until(lambda: pod.phase("a") is Phase.READY)
        await until(lambda: evaluated(pod, "a") > 50)
        warm = evaluated(pod, "a")
        for tenant in ("x", "y"):
            answer = accepted(await pod.ask("a", f"{prompt}{tenant}", tenant=tenant))
            assert answer.cached_tokens >= warm - 1
            assert answer.prompt_tokens - answer.cached_tokens < 20
        assert accepted(await pod.ask("a", OWN, tenant="x")).cached_tokens == 0
        assert accepted(await pod.ask("a", OWN, tenant="y")).cached_tokens == 0
        assert accepted(await pod.ask("a", OWN, tenant="x")).cached_tokens == 299


async def test_warm_up_waits_for_requests_and_a_bad_prompt_for_nobody(tmp_path: Path, tiny: Tiny) -> None:
    long, good = "word " * 4000, "a short story about a horse and its stable, told to children. " * 4
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0), loading={"warmup": [long, good]}))
        first = await pod.ask("a", OWN)
        assert accepted(first).cached_tokens == 0
        await until(lambda: evaluated(pod, "a") > 350)  # the first is too long, the second computed
        assert accepted(await pod.ask("a", good + "x", tenant="z")).cached_tokens > 50


async def test_what_is_kept_for_a_removed_model_or_an_old_revision_goes(tmp_path: Path, tiny: Tiny) -> None:
    folder = tmp_path / "prompts"
    async with running(tmp_path, prompts=folder, limits=quick(prompt_write_seconds=0.2)) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        for model in ("a", "b"):
            await pod.ask(model, PROMPT)
        await until(lambda: len(files(folder)) == 2)
        pod.apply(tiny_entry("b", tiny(1)))
        await until(lambda: not files(folder, digest("default/a")))
        assert len(files(folder, digest("default/b"))) == 1
        kept = files(folder)[0].parent
        pod.apply(tiny_entry("b", tiny(2)))  # other weights; the first ones are what is fallen back to
        await until(lambda: len(pod.engines) == 1 and pod.model("b").loads == 2)
        pod.apply(tiny_entry("b", tiny(3)))
        await until(lambda: pod.model("b").loads == 3 and not kept.exists())


def test_a_conversation_survives_the_kill_of_the_whole_server(tmp_path: Path, tiny: Tiny) -> None:
    pod = RuntimePod(tmp_path, PADDOCK_PROMPT_WRITE_SECONDS="0.4")
    pod.put("a.gguf", tiny(0))
    text = "the horse ran through the open gate of the stable and over the hill " * 4
    with pod:
        pod.apply(pod.entry("a", pod.in_volume("a.gguf")))
        first = pod.complete("a", text).json()
        assert first["usage"]["prompt_tokens"] > 64
        eventually(lambda: files(tmp_path / "cache" / "prompts"), within=PATIENCE)
        pod.signal(signal.SIGKILL)
        pod.wait()
    assert pod.process is not None
    pod.client = type(pod.client)(timeout=PATIENCE, headers=pod.client.headers)
    with pod:
        again = pod.complete("a", text + "again").json()["usage"]
        assert again["prompt_tokens_details"]["cached_tokens"] >= first["usage"]["prompt_tokens"] - 3
