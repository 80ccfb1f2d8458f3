"""What Models use, and sharing of weights, with real children: parts add up, one copy is paid once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from gguf import GGUFWriter
from prometheus_client.parser import text_string_to_metric_families

from paddock_api.identity import ModelId
from paddock_api.pool import PoolConfig, PoolEntry
from paddock_api.pool_settings import PoolSettings
from paddock_api.state import Phase
from paddock_api.usage import Amounts, PodUsage
from paddock_cli.__main__ import main
from paddock_runtime.engine.protocol import Usage
from paddock_runtime.jobs import Accepted, Text
from paddock_runtime.lifecycle import Limits
from tests.lifecycle_kit import PATIENCE, Answer, Pod, collect, first_text, quick, running, tiny_entry, total_pss, until
from tests.models.random_weights import EMBEDDING, HEAD, HEADS
from tests.pod_kit import PodThread, eventually, write_model

Tiny = Callable[[int], Path]
CLOSELY = quick(memory_interval=0.05)
FIELDS = list(Amounts.model_fields)


def apply(pod: Pod, settings: PoolSettings, *entries: PoolEntry) -> None:
    pod.generation += 1
    pod.supervisor.apply(PoolConfig(generation=pod.generation, settings=settings.document(),
                                    models={str(entry.id): entry for entry in entries}))


def spent(answer: Answer) -> list[Usage]:
    return [output.delta.usage for output in answer.outputs if isinstance(output, Text) and output.delta.usage]


async def until_usage(pod: Pod, condition: Callable[[PodUsage], bool]) -> PodUsage:
    """The first that meets `condition`."""
    give_up = time.monotonic() + PATIENCE
    while not condition(usage := await pod.supervisor.usage()):
        assert time.monotonic() < give_up, "the usage did not come about"
    return usage


def assert_adds_up(usage: PodUsage) -> None:
    for field in FIELDS:
        total, nobody = getattr(usage.total, field), getattr(usage.unattributed, field)
        for parts in (usage.entries, usage.models, usage.tenants, usage.namespaces):
            assert sum(getattr(part, field) for part in parts) + nobody == total, field


async def test_two_models_in_one_child_and_two_tenants(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=CLOSELY) as pod:
        pod.apply(tiny_entry("one", tiny(0)), tiny_entry("two", tiny(0), defaults={"temperature": 0.5}),
                  tiny_entry("never", tiny(0)))
        answers = list(await asyncio.gather(
            pod.ask("one", "Once upon a time there was", tenant="x", tokens=8), pod.ask("two", tenant="x", tokens=5),
            pod.ask("one", tenant="y", tokens=3, choices=2)))
        answers.append(await pod.ask("one", "Once upon a time there was", tenant="x", tokens=8))
        assert all(answer.complete for answer in answers)
        assert len(pod.engines) == 1
        await until(lambda: all(pod.model(name).share_bytes for name in ("one", "two")))
        usage = await until_usage(pod, lambda usage: usage.unattributed.memory_byte_seconds > 0)
        assert_adds_up(usage)
        entries = {(entry.model, entry.tenant): entry for entry in usage.entries if entry.tenant}
        assert set(entries) == {("one", "x"), ("two", "x"), ("one", "y")}
        for who, choices in ((("one", "x"), (0, 3)), (("two", "x"), (1,)), (("one", "y"), (2,))):
            used = [spent(answers[number]) for number in choices]
            assert entries[who].requests == len(choices)
            assert entries[who].prompt_tokens == sum(each[0].prompt_tokens for each in used)
            assert entries[who].cached_tokens == sum(min(one.cached_tokens for one in each) for each in used)
            assert entries[who].completion_tokens == sum(one.completion_tokens for each in used for one in each)
            assert entries[who].busy_microseconds > 0
        assert entries["one", "x"].cached_tokens > 0
        assert all(model.memory_byte_seconds > 0 for model in usage.models)
        one, two, never = (pod.model(name) for name in ("one", "two", "never"))
        assert (one.share_bytes or 0) + (two.share_bytes or 0) == pod.engines[0].measured_bytes == one.measured_bytes
        assert never.phase is Phase.READY, "it could be served at once,"
        assert never.share_bytes is None, "but who never asked pays nothing"


async def test_the_total_is_the_pod_s_memory_over_time(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=CLOSELY) as pod:
        pod.apply(tiny_entry("one", tiny(0)))
        assert (await pod.ask("one")).complete
        await until(lambda: pod.model("one").share_bytes is not None)
        before, least = await pod.supervisor.usage(), total_pss(pod.pids)
        after = await until_usage(pod, lambda usage: usage.until - before.until > 0.5)
        seconds = after.until - before.until
        gained = after.models[0].memory_byte_seconds - before.models[0].memory_byte_seconds
        assert gained == pytest.approx(least * seconds, rel=0.2)
        total = after.total.memory_byte_seconds - before.total.memory_byte_seconds
        assert total > gained, "this process takes memory too"


async def test_a_model_that_is_kept_pays_and_a_model_that_left_pays_no_more(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=CLOSELY) as pod:
        pod.apply(tiny_entry("kept", tiny(0), loading={"policy": "Preload"}))
        usage = await until_usage(pod, lambda usage: any(entry.memory_byte_seconds for entry in usage.entries))
        assert [(entry.model, entry.tenant) for entry in usage.entries] == [("kept", "")], "nobody asked yet"
        await until(lambda: pod.phase("kept") is Phase.READY)
        await pod.supervisor.unload(ModelId("default", "kept"))
        await until(lambda: pod.engines == [] and pod.model("kept").share_bytes is None)
        before = await pod.supervisor.usage()
        after = await until_usage(
            pod, lambda usage: usage.total.memory_byte_seconds > before.total.memory_byte_seconds)
        assert after.models[0].memory_byte_seconds == before.models[0].memory_byte_seconds
        assert_adds_up(after)
        pod.apply()
        assert (await pod.supervisor.usage()).models[0].model == "kept", "it is still told by name,"
        models, _ = pod.supervisor.usage_of_models()
        assert {model: totals.memory for model, totals in models.items()} == {
            ModelId("default", "*"): after.models[0].memory_byte_seconds}, "but names that were are no labels"


async def test_a_request_that_was_cancelled_pays_for_what_it_got(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("one", tiny(0)))
        stream = pod.submit("one", tokens=400)
        await first_text(stream)
        await stream.aclose()
        usage = await pod.supervisor.usage()
        assert (usage.total.requests, usage.entries[0].tenant) == (1, "t")
        assert usage.total.prompt_tokens > 0
        assert 0 < usage.total.completion_tokens < 400
        assert_adds_up(usage)


async def test_a_crash_costs_no_line_of_the_bill(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("one", tiny(0)))
        stream = pod.submit("one", tokens=400)
        await first_text(stream)
        os.kill(pod.pids[0], signal.SIGKILL)
        assert (await collect(stream)).code == "engine_crashed"
        assert (await pod.ask("one", tenant="other", tokens=3)).complete
        usage = await pod.supervisor.usage()
        assert_adds_up(usage)
        assert usage.total.requests == 2
        assert [entry.completion_tokens > 0 for entry in usage.entries if entry.tenant in ("t", "other")] == [True] * 2


async def test_three_models_on_one_file_are_one_child_one_context_and_one_copy(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=CLOSELY) as pod:
        pod.apply(
            tiny_entry("plain", tiny(0)), tiny_entry("warm", tiny(0), defaults={"temperature": 0.9}),
            tiny_entry("chat", tiny(0), engine={"chatTemplate": "{{ messages[0].content }}"}))
        names = ("plain", "warm", "chat")
        await until(lambda: all(pod.phase(name) is Phase.CACHED for name in names))
        alone = pod.model("plain").estimated_bytes
        answers = await asyncio.gather(*(pod.ask(name) for name in names))
        assert all(answer.complete for answer in answers)
        served = {output.served.model.name: output.served.revision.spec for answer in answers
                  for output in answer.outputs if isinstance(output, Accepted)}
        assert served["warm"].defaults.temperature == 0.9, "defaults stay each one's own"
        assert served["chat"].engine.chat_template == "{{ messages[0].content }}"
        assert served["plain"].engine.chat_template is None
        (engine,) = pod.engines
        assert engine.charged_bytes == alone, "charged once"
        await until(lambda: pod.engines[0].counters.get("cells_total") == 1024)  # of one context
        await until(lambda: all(pod.model(name).share_bytes for name in names))
        shares = [pod.model(name).share_bytes or 0 for name in names]
        assert max(shares) - min(shares) <= 2, "equal users, equal shares"
        assert sum(shares) == pod.engines[0].measured_bytes == pytest.approx(total_pss(pod.pids), rel=0.1)
        assert pod.supervisor.state().memory.measured_bytes == sum(shares)


def write_adapter(path: Path) -> Path:
    """A LoRA that turns the tiny models' first attention over."""
    writer, random = GGUFWriter(path, "llama"), np.random.Generator(np.random.PCG64(1))
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for name, outputs in (("attn_q", HEADS * HEAD), ("attn_output", EMBEDDING)):
        writer.add_tensor(f"blk.0.{name}.weight.lora_a", random.normal(0, 1, (4, EMBEDDING)).astype(np.float32))
        writer.add_tensor(f"blk.0.{name}.weight.lora_b", random.normal(0, 1, (outputs, 4)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


async def test_adapters_stay_each_model_s_own_in_one_child(tmp_path: Path, tiny: Tiny) -> None:
    adapter = {"source": {"file": {"path": str(write_adapter(tmp_path / "adapter.gguf"))}}}
    async with running(tmp_path, limits=CLOSELY) as pod:
        pod.apply(tiny_entry("plain", tiny(0)), tiny_entry("tuned", tiny(0), engine={"adapters": [adapter]}),
                  tiny_entry("also", tiny(0), engine={"adapters": [adapter]}))
        names = ("plain", "tuned", "also")
        await until(lambda: all(pod.phase(name) is Phase.CACHED for name in names))
        plain, tuned, also = [await pod.ask(name, tokens=16) for name in names]
        assert plain.complete
        assert tuned.complete
        assert tuned.text == also.text != plain.text, "nobody got the other's adapter"
        assert plain.text == (await pod.ask("plain", tokens=16)).text
        (engine,) = pod.engines
        assert engine.models == ["default/also", "default/plain", "default/tuned"]
        await until(lambda: pod.engines[0].counters.get("cells_total") == 2 * 1024)
        await until(lambda: all(pod.model(name).share_bytes for name in names))
        shares = {name: pod.model(name).share_bytes or 0 for name in names}
        assert sum(shares.values()) == pod.engines[0].measured_bytes
        assert shares["plain"] > shares["tuned"], "it has a context for itself"
        await pod.supervisor.unload(ModelId("default", "tuned"))
        await until(lambda: pod.phase("tuned") is Phase.CACHED)
        assert pod.phase("plain") is Phase.READY, "its weights stay"
        assert (await pod.ask("also", tokens=16)).text == tuned.text, "an adapter that was freed is loaded again"
        assert [event.data["reason"] for event in pod.events("engine_ended")] == []


@pytest.mark.parametrize("shared", [False, True])
async def test_namespaces_share_a_child_only_where_the_pool_opts_in(tmp_path: Path, tiny: Tiny, shared: bool) -> None:
    async with running(tmp_path) as pod:
        apply(pod, PoolSettings(share_across_namespaces=shared),
              tiny_entry("m", tiny(0), namespace="team-a"), tiny_entry("m", tiny(0), namespace="team-b"))
        prompt = "Once upon a time there was a long and equal prompt"
        first = await pod.ask("team-a/m", prompt)
        second = await pod.ask("team-b/m", prompt)
        assert first.complete
        assert second.complete
        assert len(pod.engines) == (1 if shared else 2)
        assert first.text == second.text
        assert [usage.cached_tokens for usage in spent(second)] == [0], "prompts stay apart"
        assert [usage.cached_tokens for usage in spent(await pod.ask("team-b/m", prompt))] != [0]


async def test_loaded_models_follow_the_opt_in_when_they_are_loaded_again(tmp_path: Path, tiny: Tiny) -> None:
    entries = [tiny_entry("m", tiny(0), namespace=namespace) for namespace in ("team-a", "team-b")]
    names = [str(entry.id) for entry in entries]

    async def ask_all(engines: int) -> None:
        for name in names:
            assert (await pod.ask(name)).complete
        assert len(pod.engines) == engines

    async def unload_all() -> None:
        for name in names:
            await pod.supervisor.unload(ModelId.parse(name))
        await until(lambda: pod.engines == [])

    async with running(tmp_path) as pod:
        apply(pod, PoolSettings(), *entries)
        await ask_all(2)
        apply(pod, PoolSettings(share_across_namespaces=True), *entries)
        await ask_all(2)
        assert len(pod.events("engine_started")) == 2, "what was loaded is not torn down"
        await unload_all()
        await ask_all(1)
        apply(pod, PoolSettings(), *entries)
        await ask_all(1)
        await unload_all()
        await ask_all(2)


def test_usage_over_http_as_metrics_and_as_a_table(
        tmp_path: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    write_model(folder, "one", tiny(0), engine={"contextLength": 512, "cacheTokens": 1024, "parallel": 4})
    with PodThread(folder, tmp_path / "cache", limits=Limits(memory_interval=0.05)) as pod:
        body = {"model": "one", "prompt": "Once", "max_tokens": 4, "temperature": 0}
        assert httpx.post(f"{pod.url}/v1/completions", json=body, timeout=60).status_code == 200

        def usage() -> PodUsage:
            return PodUsage.model_validate_json(httpx.get(f"{pod.url}/usage").text)

        eventually(lambda: any(model.memory_byte_seconds for model in usage().models))
        assert_adds_up(usage())
        assert [(entry.model, entry.tenant) for entry in usage().entries] == [("one", "local")]
        series = {sample.name: sample for family in text_string_to_metric_families(
            httpx.get(f"{pod.url}/metrics").text) for sample in family.samples if "usage" in sample.name}
        memory = series["paddock_usage_memory_byte_seconds_total"]
        assert memory.labels == {"namespace": "default", "model": "default/one"}
        assert memory.value > 0
        assert series["paddock_usage_busy_seconds_total"].value > 0
        assert main(["usage", "--server", pod.url, "--by", "entry"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines] == ["ENTRY", "default/one local", "unattributed", "total"]
        assert main(["usage", "--server", f"{pod.url}/v1"]) == 1
        assert "404" in capsys.readouterr().err
