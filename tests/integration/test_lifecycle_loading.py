"""Models come into memory and leave it, with real children."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock_api.errors import PaddockError
from paddock_api.identity import ModelId
from paddock_api.state import Phase
from paddock_runtime.engine.types import Charge
from paddock_runtime.jobs import Accepted, Served, Vectors, Waiting, Work
from paddock_runtime.lifecycle.plan import resident
from paddock_runtime.lifecycle.units import Unit
from tests.lifecycle_kit import (
    MIB,
    Faulty,
    alive,
    children,
    collect,
    descriptors,
    entry,
    first_text,
    quick,
    running,
    tiny_entry,
    total_pss,
    until,
)

Tiny = Callable[[int], Path]
ONE = 70 * MIB  # room for one tiny Model, not for two
SMALL = Faulty(charge=Charge(weights_bytes=48 * MIB, context_bytes=12 * MIB))


async def test_the_first_request_loads_the_model_by_itself(tmp_path: Path, gemma: Path) -> None:
    async with running(tmp_path) as pod:
        pod.apply(entry("gemma", gemma))
        await until(lambda: pod.phase("gemma") is Phase.CACHED)
        assert pod.engines == []
        answer = await pod.ask("gemma", "The capital of France is", tokens=6)
        assert answer.error is None
        assert answer.text.startswith(" the capital")
        assert pod.phase("gemma") is Phase.READY
        waits = [output for output in answer.outputs if isinstance(output, Waiting)]
        assert [wait.phase for wait in waits][-1] in (Phase.LOADING, Phase.READY)
        assert pod.phases("gemma") == ["Fetching", "Cached", "Loading", "Ready"]
        state = pod.model("gemma")
        assert state.loads == 1
        assert state.digest is not None
        assert state.estimated_bytes is not None
        await until(lambda: pod.model("gemma").measured_bytes is not None)
        assert (pod.model("gemma").measured_bytes or 0) <= state.estimated_bytes
    assert pod.phases("gemma")[-3:] == ["Draining", "Unloading", "Cached"]


async def test_the_scheduler_hears_how_often_a_model_is_asked_for_and_how_long_it_took_to_load(
        tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        began = time.monotonic()
        assert (await pod.ask("a")).error is None
        took = time.monotonic() - began
        core = pod.supervisor._core
        [unit] = core.pool.units.values()
        once = resident(unit, core.registry, time.monotonic())
        assert 0 < once.load_seconds < took
        assert once.load_seconds != 1.0
        for _ in range(3):
            await pod.ask("a")
        assert resident(unit, core.registry, time.monotonic()).use_rate > 1.5 * once.use_rate > 0


async def test_many_first_requests_are_one_load(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        answers = await asyncio.gather(*(pod.ask("a", f"Number {number}") for number in range(16)))
        assert [answer.code for answer in answers] == [None] * 16
        assert all(answer.complete for answer in answers)
        assert len(pod.events("engine_started")) == 1
        assert pod.model("a").loads == 1
        assert pod.model("a").busy == 0


async def test_choices_are_accepted_and_ended_each(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        answer = await pod.ask("a", choices=3)
        accepted = [output for output in answer.outputs if isinstance(output, Accepted)]
        assert sorted(output.choice for output in accepted) == [0, 1, 2]
        assert accepted[0].served.context_length == 512


async def test_an_encoder_embeds(tmp_path: Path, minilm: Path) -> None:
    async with running(tmp_path) as pod:
        pod.apply(entry("minilm", minilm))
        answer = await pod.embed("minilm", "a cat", "a dog")
        vectors = answer.outputs[-1]
        assert isinstance(vectors, Vectors)
        assert vectors.dimensions == 384
        assert [len(vector) for vector in vectors.vectors] == [4 * 384] * 2


async def test_two_models_and_a_budget_for_one(tmp_path: Path, tiny: Tiny) -> None:
    """Alternating requests all succeed; at no sample do the children take more than the budget."""
    async with running(tmp_path, memory=ONE, types=[SMALL]) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        peaks: list[int] = []

        async def watch() -> None:
            while True:
                peaks.append(await asyncio.to_thread(total_pss, children()))
                await asyncio.sleep(0.02)

        watcher = asyncio.create_task(watch())
        for number in range(20):
            answer = await pod.ask("ab"[number % 2])
            assert answer.error is None
        watcher.cancel()
        assert max(peaks) <= ONE
        assert len(pod.engines) == 1
        assert pod.model("a").loads == pod.model("b").loads == 10


async def test_requests_for_two_models_at_once_are_grouped(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, memory=ONE, types=[SMALL]) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        answers = await asyncio.gather(*(pod.ask("ab"[number % 2]) for number in range(40)))
        assert [answer.code for answer in answers] == [None] * 40
        assert pod.model("a").loads == pod.model("b").loads == 1


async def test_a_busy_model_hands_over_after_its_turn(tmp_path: Path, tiny: Tiny) -> None:
    """Clients that never leave A idle do not keep B out; nobody's request fails."""
    async with running(tmp_path, memory=ONE, types=[SMALL], limits=quick(service_seconds=0.5)) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        done = asyncio.Event()

        async def client() -> list[str | None]:
            codes = []
            while not done.is_set():
                codes.append((await pod.ask("a", tokens=40)).code)
            return codes

        clients = [asyncio.create_task(client()) for _ in range(3)]
        await until(lambda: pod.phase("a") is Phase.READY)
        answer = await pod.ask("b")
        assert answer.error is None
        done.set()
        assert {code for codes in await asyncio.gather(*clients) for code in codes} == {None}
        assert "Draining" in pod.phases("a")
        assert {event.data["requests"] for event in pod.events("engine_ended")} == {0}, "nobody was in it when it went"


async def test_idle_models_leave_and_young_ones_stay(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("brief", tiny(0), loading={"idleTimeout": "0s"}),
                  tiny_entry("young", tiny(1), loading={"idleTimeout": "0s", "minResidency": "3s"}))
        assert (await pod.ask("young")).error is None
        loaded = time.monotonic()
        assert (await pod.ask("brief")).error is None
        await until(lambda: pod.phase("brief") is Phase.CACHED)
        assert pod.phase("young") is Phase.READY
        await until(lambda: pod.phase("young") is Phase.CACHED)
        assert time.monotonic() - loaded > 2.0
        assert pod.engines == []
        reasons = {event.data.get("reason") for event in pod.bus.history if event.data.get("to") == Phase.UNLOADING}
        assert reasons == {"idle"}


async def test_minimum_residency_makes_others_wait(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, memory=ONE, types=[SMALL]) as pod:
        pod.apply(tiny_entry("a", tiny(0), loading={"minResidency": "2s"}), tiny_entry("b", tiny(1)))
        assert (await pod.ask("a")).error is None
        refused = await pod.ask("b", hold=0.3)
        assert refused.code == "hold_expired"
        assert refused.error is not None
        assert refused.error.retry_after is not None
        assert pod.phase("a") is Phase.READY
        assert (await pod.ask("b")).error is None
        assert pod.phase("a") is not Phase.READY


async def test_models_on_one_file_share_the_child_and_equal_options_the_context(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("one", tiny(0)), tiny_entry("two", tiny(0), defaults={"temperature": 0.5}),
                  tiny_entry("other", tiny(0), engine={"contextLength": 256}),
                  tiny_entry("one", tiny(0), namespace="foreign"))
        await until(lambda: all(pod.phase(name) is Phase.CACHED for name in ("one", "two", "other", "foreign/one")))
        assert (await pod.ask("one")).error is None
        assert pod.phase("two") is Phase.READY
        assert (await pod.ask("two")).error is None
        assert (await pod.ask("other")).error is None
        assert len(pod.engines) == 1
        assert pod.engines[0].models == ["default/one", "default/other", "default/two"]
        assert (await pod.ask("foreign/one")).error is None
        assert len(pod.engines) == 2


async def test_what_can_never_fit_is_said_at_once_with_the_numbers(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, memory=20 * MIB) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        answer = await pod.ask("a")
        assert answer.code == "no_fit"
        assert answer.error is not None
        assert "20 MiB" in answer.error.message
        assert pod.phase("a") is Phase.FAILED
        assert (await pod.ask("a")).code == "no_fit"
        assert pod.events("engine_started") == []


async def test_load_unload_and_prefetch_by_hand(tmp_path: Path, tiny: Tiny) -> None:
    a = ModelId("default", "a")
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        await pod.supervisor.prefetch(a)
        await until(lambda: pod.phase("a") is Phase.CACHED)
        await pod.supervisor.load(a)
        await until(lambda: pod.phase("a") is Phase.READY)
        stream = pod.submit("a", tokens=200)
        await first_text(stream)
        await pod.supervisor.unload(a)
        assert pod.phase("a") is Phase.DRAINING
        assert (await collect(stream)).complete
        await until(lambda: pod.phase("a") is Phase.CACHED)
        assert pod.engines == []
        assert (await pod.ask("a")).error is None


async def test_pinned_models_are_loaded_early_and_kept(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, memory=ONE, types=[SMALL]) as pod:
        pod.apply(tiny_entry("p", tiny(0), loading={"policy": "Pinned", "idleTimeout": "0s"}), tiny_entry("b", tiny(1)))
        await until(lambda: pod.phase("p") is Phase.READY)
        answer = await pod.ask("b")
        assert answer.code == "no_fit"
        assert answer.error is not None
        assert "pinned" in answer.error.message
        assert pod.phase("p") is Phase.READY


async def test_full_queue_and_short_deadlines(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=quick(queue_per_model=3)) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        waiting = [pod.submit("a") for _ in range(3)]
        refused = await pod.ask("a")
        assert refused.code == "queue_full"
        assert refused.error is not None
        assert refused.error.retry_after is not None
        assert all([(await collect(stream)).complete for stream in waiting])
        late = await pod.ask("a", tokens=400, deadline=0.05)
        assert late.code == "deadline_exceeded"
        await until(lambda: pod.engines[0].busy == 0)


async def test_a_client_that_leaves_does_not_cancel_the_load_of_others(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=quick(desert_seconds=0.0)) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        leaver = pod.submit("a")
        stayer = asyncio.create_task(pod.ask("a"))
        await until(lambda: pod.phase("a") is Phase.LOADING)
        await leaver.aclose()
        assert pod.model("a").waiting == 1
        assert (await stayer).error is None
        assert pod.model("a").loads == 1


async def test_a_load_that_nobody_waits_for_any_more_is_given_up(tmp_path: Path, gemma: Path) -> None:
    async with running(tmp_path, limits=quick(desert_seconds=0.05)) as pod:
        pod.apply(entry("a", gemma))
        leaver = pod.submit("a")
        await until(lambda: pod.phase("a") is Phase.LOADING)
        await leaver.aclose()
        await until(lambda: pod.phase("a") is Phase.CACHED)
        assert pod.model("a").loads == 0
        assert children() == set()
        assert pod.phases("a")[-4:] == ["Loading", "Draining", "Unloading", "Cached"]
        assert (await pod.ask("a")).error is None


async def test_a_client_that_comes_again_finds_its_load_under_way(tmp_path: Path, gemma: Path) -> None:
    async with running(tmp_path, limits=quick(desert_seconds=30.0)) as pod:
        pod.apply(entry("a", gemma))
        for _ in range(5):
            stream = pod.submit("a")
            await until(lambda: pod.phase("a") is Phase.LOADING)
            await stream.aclose()
        assert (await pod.ask("a")).error is None
        assert len(pod.events("engine_started")) == 1


async def test_an_unload_ends_a_load_that_nobody_waits_for_at_once(tmp_path: Path, gemma: Path) -> None:
    a = ModelId("default", "a")
    async with running(tmp_path, limits=quick(desert_seconds=3600.0)) as pod:
        pod.apply(entry("a", gemma))
        await pod.supervisor.load(a)
        await until(lambda: pod.phase("a") is Phase.LOADING)
        await pod.supervisor.unload(a)
        await until(lambda: pod.phase("a") is Phase.CACHED)
        assert pod.model("a").loads == 0
        stayer = asyncio.create_task(pod.ask("a"))
        await until(lambda: pod.phase("a") is Phase.LOADING)
        await pod.supervisor.unload(a)
        assert (await stayer).error is None, "who waits is served first"


async def test_what_is_to_be_kept_is_loaded_whoever_leaves(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=quick(desert_seconds=0.0)) as pod:
        pod.apply(tiny_entry("p", tiny(0), loading={"policy": "Pinned"}))
        leaver = pod.submit("p")
        await until(lambda: pod.phase("p") is Phase.LOADING)
        await leaver.aclose()
        await until(lambda: pod.phase("p") is Phase.READY)
        assert len(pod.events("engine_started")) == 1


async def test_a_reader_that_is_cancelled_frees_its_place(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0), engine={"contextLength": 8000, "cacheTokens": 16384}))
        stream = pod.submit("a", tokens=7000)
        await first_text(stream)
        await until(lambda: pod.engines[0].counters["live"] == 1)
        reader = asyncio.create_task(collect(stream))
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert pod.model("a").busy == 0
        await until(lambda: pod.engines[0].counters["live"] == 0)
        assert pod.engines[0].counters["tokens_generated"] < 7000


async def test_a_configuration_pushed_while_loading_wins(tmp_path: Path, tiny: Tiny) -> None:
    """Fault 14: the newest generation answers, the older load is given up, nobody gets a mix."""
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0), engine={"contextLength": 512}))
        asked = asyncio.create_task(pod.ask("a"))
        await until(lambda: pod.phase("a") is Phase.LOADING)
        pod.apply(tiny_entry("a", tiny(0), engine={"contextLength": 300}))
        answer = await asked
        assert answer.error is None
        accepted = next(output for output in answer.outputs if isinstance(output, Accepted))
        assert accepted.served.context_length == 300
        assert accepted.served.revision == pod.entries["default/a"].desired
        assert len(pod.events("engine_started")) == 1, "the weights were on their way already"


async def test_a_load_that_the_configuration_no_longer_wants_is_given_up(
        tmp_path: Path, tiny: Tiny, gemma: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as pod:
        core = pod.supervisor._core
        ready: list[str] = []
        unit_ready = core.unit_ready

        def noting(unit: Unit) -> None:
            ready.append(unit.target.revision.id)
            unit_ready(unit)

        monkeypatch.setattr(core, "unit_ready", noting)
        pod.apply(entry("a", gemma))
        asked = asyncio.create_task(pod.ask("a"))
        await until(lambda: pod.phase("a") is Phase.LOADING)
        pod.apply(tiny_entry("a", tiny(0)))
        assert (await asked).error is None
        await until(lambda: len(children()) == 1)
        assert ready == [pod.entries["default/a"].desired.id]


async def test_an_old_or_equal_generation_changes_nothing(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        pod.apply(tiny_entry("b", tiny(1)))
        pod.generation = 0
        pod.apply(tiny_entry("c", tiny(2)))
        assert [model.name for model in pod.supervisor.state().models] == ["b"]
        pod.supervisor.reject(7, "line 3 is no YAML")
        state = pod.supervisor.state()
        assert state.config_generation == 2
        assert state.config_error is not None
        assert "line 3" in state.config_error


async def test_a_change_that_needs_no_reload_loads_nothing(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        assert (await pod.ask("a")).error is None
        before = pod.pids
        pod.apply(tiny_entry("a", tiny(0), defaults={"temperature": 0.1}))
        assert pod.phase("a") is Phase.READY
        answer = await pod.ask("a")
        accepted = next(output for output in answer.outputs if isinstance(output, Accepted))
        assert accepted.served.revision.spec.defaults.temperature == 0.1
        assert pod.pids == before
        assert pod.model("a").loads == 1


@pytest.mark.parametrize("memory", [4096 * MIB, ONE], ids=["beside", "one after the other"])
async def test_a_changed_model_is_switched_without_a_failed_request(tmp_path: Path, tiny: Tiny, memory: int) -> None:
    async with running(tmp_path, memory=memory, types=[SMALL]) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        stream = pod.submit("a", tokens=300)
        await first_text(stream)
        pod.apply(tiny_entry("a", tiny(1)))
        new = pod.entries["default/a"].desired
        during = [asyncio.create_task(pod.ask("a")) for _ in range(4)]
        assert (await collect(stream)).complete
        assert [(await each).code for each in during] == [None] * 4
        await until(lambda: pod.model("a").revision == new.id and len(pod.engines) == 1)
        answer = await pod.ask("a")
        assert next(output for output in answer.outputs if isinstance(output, Accepted)).served.revision == new


async def test_an_idle_model_is_switched_one_after_the_other_without_a_request(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, memory=ONE, types=[SMALL]) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        assert (await pod.ask("a")).error is None
        pod.apply(tiny_entry("a", tiny(1)))
        new = pod.entries["default/a"].desired
        await until(lambda: pod.model("a").revision == new.id and pod.phase("a") is Phase.READY)
        await pod.supervisor.unload(pod.supervisor.resolve("a"))
        pod.apply(tiny_entry("a", tiny(2)))
        await until(lambda: pod.phase("a") is Phase.CACHED and pod.engines == [])
        await asyncio.sleep(1.0)
        assert pod.engines == []  # what was unloaded by hand is not brought back by a change


async def test_a_bad_revision_leaves_the_good_one_serving(tmp_path: Path, tiny: Tiny) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        assert (await pod.ask("a")).error is None
        good = pod.model("a").revision
        pod.apply(tiny_entry("a", bad))
        await until(lambda: pod.model("a").failure is not None)
        assert (await pod.ask("a")).error is None
        assert pod.model("a").revision == good
        assert pod.phase("a") is Phase.READY
        await pod.supervisor.unload(ModelId("default", "a"))
        await until(lambda: pod.engines == [])
        assert (await pod.ask("a")).error is None, "not loaded, it falls back by itself"


async def test_a_removed_model_finishes_and_leaves(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        stream = pod.submit("a", tokens=300)
        await first_text(stream)
        pod.apply()
        assert (await pod.ask("a")).code == "model_not_found"
        with pytest.raises(PaddockError, match="does not exist"):
            pod.supervisor.resolve("a")
        assert pod.phase("a") is Phase.DRAINING
        assert (await collect(stream)).complete
        await until(lambda: pod.supervisor.state().models == [] and pod.engines == [])
        assert pod.phases("a")[-3:] == ["Draining", "Unloading", "Absent"]


async def test_a_model_that_comes_back_while_it_leaves_is_one_model(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        stream = pod.submit("a", tokens=300)
        await first_text(stream)
        pod.apply()
        assert pod.phase("a") is Phase.DRAINING
        pod.apply(tiny_entry("a", tiny(0)))
        assert [model.name for model in pod.supervisor.state().models] == ["a"]
        assert pod.events("phase", "a")[-1].data["from"] == "Draining"
        answer = await pod.ask("a")
        assert (await collect(stream)).complete
        assert answer.complete
        await until(lambda: pod.phase("a") is Phase.READY)
        assert [model.name for model in pod.supervisor.state().models] == ["a"]
        assert pod.phases("a")[-1] == "Ready"


async def test_drain_finishes_what_runs_and_refuses_what_comes(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        stream = pod.submit("a", tokens=200)
        await first_text(stream)
        pids = pod.pids
        drained = asyncio.create_task(pod.supervisor.drain(30.0))
        await asyncio.sleep(0)
        assert (await pod.ask("b")).code == "draining"
        assert (await collect(stream)).complete
        await drained
        assert not any(alive(pid) for pid in pids)


async def test_drain_ends_what_is_too_long(tmp_path: Path, gemma: Path) -> None:
    async with running(tmp_path) as pod:
        pod.apply(entry("gemma", gemma))
        stream = pod.submit("gemma", tokens=4000)
        await first_text(stream)
        await pod.supervisor.drain(0.2)
        assert (await collect(stream)).code == "draining"
        assert children() == set()


async def test_prepare_that_fails_harms_only_its_request(tmp_path: Path, tiny: Tiny) -> None:
    async def fails(served: Served) -> Work:
        raise ValueError("a template that nobody foresaw")

    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        assert (await pod.ask("a", prepare=fails)).code == "internal_error"
        assert (await pod.ask("a")).error is None
        assert pod.model("a").busy == 0


async def test_many_loads_leave_nothing(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0), loading={"idleTimeout": "0s"}))
        assert (await pod.ask("a", tokens=1)).error is None
        await until(lambda: children() == set())
        before = descriptors()
        for _ in range(20):
            assert (await pod.ask("a", tokens=1)).error is None
            await until(lambda: children() == set())
        assert descriptors() == before
