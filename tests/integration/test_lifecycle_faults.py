"""What must be survived: each test injects the fault into a real child or a real file."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from paddock_api.state import Phase
from paddock_runtime.engine.types import Charge
from paddock_runtime.jobs import GenerateWork, Served, Text, Work
from paddock_runtime.lifecycle import Backoff
from tests.lifecycle_kit import (
    MIB,
    Answer,
    Faulty,
    Pod,
    alive,
    children,
    collect,
    descriptors,
    entry,
    first_text,
    quick,
    running,
    tiny_entry,
    until,
)

Tiny = Callable[[int], Path]


def frozen(pod: Pod, model: str = "a", *, then: Callable[[], None] | None = None,
           tokens: int = 8) -> Callable[[Served], Awaitable[Work]]:
    """A `prepare` that stops the child before the request reaches it: no content can come."""

    async def prepare(served: Served) -> Work:
        os.kill(pid_of(pod, model), signal.SIGSTOP)
        if then is not None:
            then()
        return GenerateWork(prompt="Once", max_tokens=tokens)

    return prepare


def pid_of(pod: Pod, model: str = "a") -> int:
    return next(engine.pid for engine in pod.engines if f"default/{model}" in engine.models and engine.pid is not None)


def kill_soon(pod: Pod, model: str = "a") -> None:
    """SIGKILL once the request was sent."""
    asyncio.get_running_loop().call_later(0.1, os.kill, pid_of(pod, model), signal.SIGKILL)


async def test_a_child_killed_in_mid_stream_is_one_error_and_others_go_on(tmp_path: Path, tiny: Tiny) -> None:
    """Fault 1."""
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        stream, other = pod.submit("a", tokens=480), pod.submit("b", tokens=480)
        await first_text(other)
        await first_text(stream)
        victim = pid_of(pod)
        os.kill(victim, signal.SIGKILL)
        cut = await collect(stream)
        assert cut.code == "engine_crashed"
        assert cut.error is not None
        assert cut.error.status == 502
        assert "SIGKILL" in cut.error.message
        assert not cut.complete
        assert (await collect(other)).complete
        ended = pod.events("engine_ended")
        assert [(event.data["reason"], event.data["requests"]) for event in ended] == [("engine_crashed", 1)]
        assert not alive(victim)
        assert (await pod.ask("a")).error is None, "the next request loads it again"
        assert pod.model("a").loads == 2


async def test_before_the_first_content_a_crash_costs_one_retry(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        crashes = 0

        async def prepare(served: Served) -> Work:
            nonlocal crashes
            if crashes == 0:
                crashes += 1
                os.kill(pid_of(pod), signal.SIGSTOP)
                kill_soon(pod)
            return GenerateWork(prompt="Once", max_tokens=8)

        answer = await pod.ask("a", prepare=prepare)
        assert answer.error is None
        assert answer.complete
        assert pod.model("a").loads == 2


async def test_two_crashes_are_an_error_and_the_request_is_refused_from_then_on(tmp_path: Path, tiny: Tiny) -> None:
    """Fault 3: a poison request kills two children, not a third."""
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        poison = frozen(pod, then=lambda: kill_soon(pod))
        answer = await pod.ask("a", prepare=poison, fingerprint="poison")
        assert answer.code == "engine_crashed"
        assert len(pod.events("engine_started")) == 2
        refused = await pod.ask("a", prepare=poison, fingerprint="poison")
        assert refused.code == "poison_request"
        assert refused.error is not None
        assert refused.error.status == 400
        assert len(pod.events("engine_started")) == 2
        assert (await pod.ask("a", fingerprint="innocent")).error is None


async def test_suspects_run_alone_and_the_innocent_are_served(tmp_path: Path, tiny: Tiny) -> None:
    """Six requests in the batch that dies; one is poison. Each is run again with nothing else in its child."""
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        assert (await pod.ask("a")).error is None
        together: list[int] = []
        batch = 0

        def suspect(*, poison: bool) -> Callable[[Served], Awaitable[Work]]:
            first = True

            async def prepare(served: Served) -> Work:
                nonlocal first, batch
                if first:
                    first = False
                    batch += 1
                    os.kill(pid_of(pod), signal.SIGSTOP)
                    if batch == 6:
                        kill_soon(pod)
                else:
                    together.append(pod.model("a").busy)
                    if poison:
                        os.kill(pid_of(pod), signal.SIGSTOP)
                        kill_soon(pod)
                return GenerateWork(prompt="Once", max_tokens=8)

            return prepare

        jobs = [pod.ask("a", prepare=suspect(poison=number == 2), fingerprint=f"f{number}") for number in range(6)]
        answers = await asyncio.gather(*jobs)
        assert [answer.code for answer in answers] == [None, None, "engine_crashed", None, None, None]
        assert together == [1] * len(together)
        assert len(together) >= 6
        assert (await pod.ask("a", fingerprint="f2")).code == "poison_request"
        strikes = pod.supervisor._core.dispatcher.strikes
        counts = [strikes.count(f"default/a\nf{number}", time.monotonic()) for number in range(6)]
        assert counts == [0, 0, 2, 0, 0, 0], "who ran well is forgiven"


async def test_a_suspect_waits_for_an_empty_child_and_others_wait_for_the_suspect(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        normal = pod.submit("a", tokens=300)
        await first_text(normal)
        pod.supervisor._core.dispatcher.strikes.strike("default/a\nguilty", time.monotonic())
        order: list[tuple[str, int]] = []

        def noting(name: str) -> Callable[[Served], Awaitable[Work]]:
            async def prepare(served: Served) -> Work:
                order.append((name, pod.model("a").busy))
                return GenerateWork(prompt="Once", max_tokens=20)

            return prepare

        suspect = asyncio.create_task(pod.ask("a", prepare=noting("suspect"), fingerprint="guilty"))
        await until(lambda: pod.model("a").waiting == 1)
        later = asyncio.create_task(pod.ask("a", prepare=noting("later")))
        await until(lambda: pod.model("a").waiting == 2)
        assert (await collect(normal)).complete
        assert (await suspect).complete
        assert (await later).complete
        assert order == [("suspect", 1), ("later", 1)]


async def test_a_frozen_child_is_ended_by_the_watchdog(tmp_path: Path, tiny: Tiny) -> None:
    """Fault 3: SIGSTOP; the request gets 504, other Models go on, the next request loads again."""
    async with running(tmp_path, limits=quick(stats_timeout=2.5)) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        assert (await pod.ask("b")).error is None
        stream = pod.submit("a", tokens=480)
        await first_text(stream)
        frozen_pid = pid_of(pod)
        os.kill(frozen_pid, signal.SIGSTOP)
        hung = await collect(stream)
        assert hung.code == "engine_hung"
        assert hung.error is not None
        assert hung.error.status == 504
        assert not alive(frozen_pid)
        assert (await pod.ask("b")).error is None
        assert (await pod.ask("a")).error is None
        assert [event.data["reason"] for event in pod.events("engine_ended")] == ["engine_hung"]


async def test_a_child_whose_decode_thread_is_stuck_is_ended_by_the_watchdog(tmp_path: Path, tiny: Tiny) -> None:
    """Fault 3: it lives and its pulse comes, but no step ends. 504 and a strike for what ran; the others go on."""
    async with running(tmp_path, types=[Faulty()], limits=quick(step_timeout=2.5, tick=0.1)) as pod:
        pod.apply(tiny_entry("a", tiny(0), engine={"contextLength": 8000, "cacheTokens": 16384}),
                  tiny_entry("b", tiny(1)))
        assert (await pod.ask("b")).error is None
        stream = pod.submit("a", tokens=7000, fingerprint="stuck")
        await first_text(stream)
        stuck = pid_of(pod)
        os.kill(stuck, signal.SIGUSR2)
        answer = await collect(stream)
        assert answer.code == "engine_hung"
        assert answer.error is not None
        assert answer.error.status == 504
        assert "finished no step" in answer.error.message, "its pulse came: it was not silent"
        assert not alive(stuck)
        assert pod.supervisor._core.dispatcher.strikes.count("default/a\nstuck", time.monotonic()) == 1
        assert pod.supervisor.ailment() is None, "the pod has dealt with it: no reason to restart the pod"
        assert (await pod.ask("b")).error is None
        assert (await pod.ask("a")).error is None
        assert [event.data["reason"] for event in pod.events("engine_ended")] == ["engine_hung"]


async def test_a_child_over_its_charge_is_ended_before_it_harms_others(tmp_path: Path, tiny: Tiny) -> None:
    """Fault 2: reason ENGINE_OOM, backoff with Retry-After, the next load is charged what was seen."""
    greedy = Faulty(grow_mib=300, charge=Charge(weights_bytes=48 * MIB, context_bytes=12 * MIB))
    limits = quick(memory_interval=0.2, oom_backoff=Backoff(first=3.0, most=300.0))
    async with running(tmp_path, memory=1024 * MIB, types=[greedy], limits=limits) as pod:
        pod.apply(tiny_entry("a", tiny(0)), tiny_entry("b", tiny(1)))
        other = pod.submit("b", tokens=480)
        await first_text(other)
        stream = pod.submit("a", tokens=480)
        await first_text(stream)
        os.kill(pid_of(pod), signal.SIGUSR1)
        ended = await collect(stream)
        if ended.error is None:  # it was done before the child had grown
            await until(lambda: pod.model("a").phase is Phase.FAILED)
        else:
            assert ended.code == "engine_oom"
        refused = await pod.ask("a")
        assert refused.code == "engine_oom"
        assert refused.error is not None
        assert refused.error.status == 503
        assert 0 < (refused.error.retry_after or 0) <= 3.0
        failure = pod.model("a").failure
        assert failure is not None
        assert failure.reason == "engine_oom"
        assert pod.phase("a") is Phase.FAILED
        assert (await collect(other)).complete
        await until(lambda: pod.phase("a") is Phase.CACHED)
        assert (await pod.ask("a")).error is None
        charged = next(engine.charged_bytes for engine in pod.engines if "default/a" in engine.models)
        assert charged > 60 * MIB + 64 * MIB, "what it was seen to take, not what was estimated"


def broken_files(folder: Path, good: Path) -> dict[str, Path]:
    """One of each kind."""
    truncated, other, corrupt = folder / "truncated.gguf", folder / "other.gguf", folder / "corrupt.gguf"
    data = good.read_bytes()
    truncated.write_bytes(data[: len(data) // 2])
    other.write_bytes(b"PK\x03\x04" + bytes(4000))
    # the header's text is whole, but the number of tensors is not what follows
    corrupt.write_bytes(data[:8] + (2**40).to_bytes(8, "little") + data[16:])
    return {"truncated": truncated, "other": other, "corrupt": corrupt, "missing": folder / "missing.gguf"}


@pytest.mark.parametrize("kind", ["truncated", "other", "corrupt", "missing"])
async def test_a_bad_file_is_a_clear_failure_without_a_loop_or_a_leak(tmp_path: Path, tiny: Tiny, kind: str) -> None:
    """Fault 4, and the issue's hundred tries."""
    path = broken_files(tmp_path, tiny(0))[kind]
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", path), tiny_entry("b", tiny(1)))
        await until(lambda: pod.phase("a") is Phase.FAILED)
        assert (await pod.ask("b")).error is None
        before = descriptors()
        answers = [await pod.ask("a") for _ in range(100)]
        codes = {answer.code for answer in answers}
        assert codes == {"source_not_found" if kind == "missing" else "invalid_model_file"}
        assert all(path.name in (answer.error.message if answer.error else "") for answer in answers)
        assert descriptors() <= before + 1
        assert len(children()) == 1, "only b's child"
        state = pod.model("a")
        assert state.failure is not None
        assert state.failure.reason in codes
        assert len(pod.events("engine_started")) == 1
        shutil.copyfile(tiny(0), path)
        await until(lambda: pod.phase("a") is Phase.CACHED, "a look at the mended file")
        assert (await pod.ask("a")).error is None


async def test_a_file_that_only_the_engine_can_refuse(tmp_path: Path, tiny: Tiny) -> None:
    """Its header is sound, its architecture unknown: the child says so, once."""
    path = tmp_path / "odd.gguf"
    path.write_bytes(tiny(0).read_bytes().replace(b"llama", b"lxxma"))
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", path))
        answers = [await pod.ask("a") for _ in range(20)]
        assert {answer.code for answer in answers} <= {"unsupported_model", "invalid_model_file"}
        assert len(pod.events("engine_started")) <= 1
        await until(lambda: children() == set())


async def test_a_wrong_digest_is_never_loaded(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path) as pod:
        pod.apply(entry("a", tiny(0), source={"file": {"path": str(tiny(0)), "sha256": "0" * 64}}))
        assert (await pod.ask("a")).code == "checksum_mismatch"
        assert pod.events("engine_started") == []


async def test_a_file_replaced_while_cached_is_looked_at_again(tmp_path: Path, tiny: Tiny) -> None:
    path = tmp_path / "model.gguf"
    shutil.copyfile(tiny(0), path)
    async with running(tmp_path) as pod:
        pod.apply(tiny_entry("a", path))
        await until(lambda: pod.phase("a") is Phase.CACHED)
        before = pod.model("a").digest
        shutil.copyfile(tiny(1), tmp_path / "new")
        os.replace(tmp_path / "new", path)
        assert (await pod.ask("a")).error is None
        assert pod.model("a").digest != before


async def test_a_child_that_dies_while_it_loads(tmp_path: Path, tiny: Tiny) -> None:
    class Dying(Faulty):
        def command(self, fd: int) -> list[str]:
            return ["/bin/sh", "-c", "echo something broke >&2; exit 7"]

    async with running(tmp_path, types=[Dying()], limits=quick(load_backoff=Backoff(first=30.0, most=30.0))) as pod:
        pod.apply(tiny_entry("a", tiny(0)))
        answers: list[Answer] = [await pod.ask("a") for _ in range(20)]
        assert {answer.code for answer in answers} == {"load_failed"}
        assert all(answer.error is not None and "exit code 7" in answer.error.message
                   and "something broke" in answer.error.message for answer in answers)
        assert all(answer.error is not None and answer.error.retry_after for answer in answers)
        assert len(pod.events("engine_started")) == 1
        assert pod.phase("a") is Phase.FAILED


async def test_a_slow_reader_is_bounded_then_ended_and_others_are_not_slowed(tmp_path: Path, tiny: Tiny) -> None:
    """Fault 17."""
    limits = quick(buffer_bytes=4096, stall_seconds=2.0)
    async with running(tmp_path, limits=limits) as pod:
        pod.apply(tiny_entry("a", tiny(0), engine={"contextLength": 8000, "cacheTokens": 16384}))
        slow = pod.submit("a", tokens=7000)
        await first_text(slow)
        run = next(iter(pod.supervisor._core.dispatcher.running))
        await until(lambda: run.outbox.paused)
        await pod.ask("a", tokens=1)  # what was on its way is here when this is answered
        kept = run.outbox.bytes
        assert (await pod.ask("a", tokens=300)).complete
        assert run.outbox.bytes == kept, "nothing more is computed for it"
        assert sum(len(output.delta.text) for output, _ in run.outbox._outputs if isinstance(output, Text)) <= 4096
        await until(lambda: pod.model("a").busy == 0, "the end of the stalled request")
        assert (await collect(slow)).code == "client_stalled"
        await until(lambda: pod.engines[0].counters["live"] == 0)


async def test_a_reader_that_comes_back_gets_every_token(tmp_path: Path, tiny: Tiny) -> None:
    async with running(tmp_path, limits=quick(buffer_bytes=4096)) as pod:
        pod.apply(tiny_entry("a", tiny(0), engine={"contextLength": 2048, "cacheTokens": 4096}))
        stream = pod.submit("a", tokens=1000)
        first = await first_text(stream)
        run = next(iter(pod.supervisor._core.dispatcher.running))
        await until(lambda: run.outbox.paused)
        await asyncio.sleep(0.3)
        rest = await collect(stream)
        assert rest.complete
        deltas = [output.delta for output in rest.outputs if isinstance(output, Text)]
        assert first.delta.tokens + sum(delta.tokens for delta in deltas) == 1000
        assert deltas[-1].usage is not None
        assert deltas[-1].usage.completion_tokens == 1000
