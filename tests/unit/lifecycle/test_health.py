"""Heartbeats: which silence fails the liveness probe."""

from __future__ import annotations

import asyncio

from paddock_runtime.engine.client import EngineClient
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.lifecycle.health import Health
from paddock_runtime.lifecycle.units import Engine, EngineStage
from paddock_runtime.system.clock import Clock


def problem(health: Health, now: float) -> str | None:
    return health.problem(now, end_patience=60.0)


def test_who_is_silent_for_too_long_is_named() -> None:
    health = Health()
    health.expect("the scheduler", 30.0, 0.0)
    health.expect("the look at memory", 60.0, 0.0)
    assert problem(health, 30.0) is None
    health.beat("the scheduler", 25.0)
    assert problem(health, 55.0) is None
    assert problem(health, 56.0) == "the scheduler did nothing for 31 s"
    health.beat("the scheduler", 70.0)
    assert problem(health, 70.0) == "the look at memory did nothing for 70 s"


def test_the_time_in_which_we_were_stopped_ourselves_is_nobodys_silence() -> None:
    health = Health()
    health.expect("the scheduler", 30.0, 0.0)
    health.forgive(3600.0)
    assert problem(health, 3601.0) is None
    assert problem(health, 3631.0) is not None


async def test_a_task_that_ended_is_a_fault() -> None:
    async def ends() -> None:
        return

    health = Health()
    task = asyncio.create_task(ends(), name="watch memory")
    health.watch([task])
    assert problem(health, 0.0) is None
    await task
    assert problem(health, 0.0) == "the task 'watch memory' has ended"


def test_a_child_that_the_kernel_does_not_let_go_is_a_fault() -> None:
    health = Health()
    engine = Engine(key="e", engine_type=LlamaCpp(), client=EngineClient(lambda report: None, Clock()),
                    weights_bytes=1, estimated_bytes=1, started_at=0.0, threads=1, stage=EngineStage.ENDING)
    health.see([engine], 10.0)
    health.see([engine], 60.0)
    assert problem(health, 70.0) is None
    assert "does not end" in (problem(health, 71.0) or "")
    health.see([], 72.0)
    assert problem(health, 100.0) is None
