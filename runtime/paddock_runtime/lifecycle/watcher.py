"""The loops that look at the children from outside, and act on what watch.py judges."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from paddock_api.events import EventType
from paddock_runtime.lifecycle.core import Core
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.pressure import Reading
from paddock_runtime.lifecycle.signature import signature_of
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.units import EngineStage
from paddock_runtime.lifecycle.watch import forgive_lag, hung, to_end
from paddock_runtime.system.container import ContainerMemory, container_memory
from paddock_runtime.system.memory import Meter, OwnMeter

_log = logging.getLogger(__name__)
_LAG = 3.0  # seconds; a tick that comes later than this says that we were stopped, not the children
_RESYNC = 10  # ticks; then the whole state is looked at again, whether or not anything seems to have happened
_TOLD = 1 << 20  # bytes by which memory must differ to be told again


class Watcher:
    def __init__(self, core: Core, *, measure: Callable[[Iterable[int]], dict[int, int]] | None = None,
                 container: Callable[[], ContainerMemory] = container_memory) -> None:
        self._core, self._measure, self._container = core, measure or Meter(), container
        self._own = OwnMeter()
        # a thread of its own: a volume that hangs may hold all the others, and the budget must be kept all the same
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._told: tuple[int, int] = (0, 0)
        self._ticks = 0

    async def watch_memory(self) -> None:
        while True:
            await asyncio.sleep(self._core.limits.memory_interval)
            try:
                await self.sample()
                self._core.health.beat("the look at memory", self._core.clock.monotonic())
            except Exception:  # noqa: BLE001 - a watcher must not end
                _log.exception("memory could not be measured")

    async def watch_time(self) -> None:
        limits, clock = self._core.limits, self._core.clock
        last = clock.monotonic()
        while True:
            await asyncio.sleep(limits.tick)
            now = clock.monotonic()
            if now - last > limits.tick + _LAG:
                forgive_lag(self._core.pool.engines.values(), now - last)
                self._core.health.forgive(now - last)
            last = now
            try:
                self._tick(now)
                self._core.health.beat("the look at the children", now)
            except Exception:  # noqa: BLE001 - a watcher must not end
                _log.exception("the children could not be checked")

    async def watch_files(self) -> None:
        """A loop of its own: a volume that hangs must not keep anybody from looking at the children."""
        while True:
            await asyncio.sleep(self._core.limits.tick)
            try:
                await self._look_at_failed_files()
            except Exception:  # noqa: BLE001 - a watcher must not end
                _log.exception("the files of failed Models could not be looked at")

    async def sample(self) -> None:
        """Measures every child, learns from it, and ends who takes too much."""
        core = self._core
        admitted = {engine.pid: engine.admitted_bytes for engine in core.pool.engines.values()}
        pids = [pid for pid in admitted if pid is not None]
        sizes, own, container = await asyncio.get_running_loop().run_in_executor(
            self._aside, self._look, [*pids, *core.spares.pids])
        core.spares.measure(sizes)
        grown = False
        for engine in core.pool.engines.values():
            size = sizes.get(engine.pid or 0)
            if size is not None:
                before = engine.charged_bytes
                engine.measured = size
                engine.allowed = max(admitted[engine.pid], engine.admitted_bytes)
                grown = grown or engine.charged_bytes > before
                core.learned.see(engine)
        core.relieving.observe(Reading(
            measured=sum(engine.measured or 0 for engine in core.pool.engines.values()) + core.spares.measured_bytes,
            budget=core.memory_bytes, used=container.used_bytes, limit=container.limit_bytes,
            stalled=container.stalled))
        for engine, error in to_end(core.pool.engines.values(), core.memory_bytes, core.limits):
            core.pool.kill(engine, error)
        if grown:
            core.poke()
        self._tell()
        core.usage.sampled(core.pool.engines.values(), own, core.dispatcher.running)

    def _look(self, pids: list[int]) -> tuple[dict[int, int], dict[int, int], ContainerMemory]:
        return self._measure(pids), self._own(), self._container()

    def _tell(self) -> None:
        engines = self._core.pool.engines.values()
        now = sum(engine.charged_bytes for engine in engines), sum(engine.measured or 0 for engine in engines)
        if any(abs(new - old) >= _TOLD for new, old in zip(now, self._told, strict=True)):
            self._told = now
            self._core.bus.publish(EventType.MEMORY, charged_bytes=now[0], measured_bytes=now[1],
                                   budget_bytes=self._core.memory_bytes)

    def _tick(self, now: float) -> None:
        core = self._core
        for engine in list(core.pool.engines.values()):
            error = hung(engine, now, core.limits)
            if error is not None and engine.stage is not EngineStage.ENDING:
                core.pool.kill(engine, error)
        core.health.see(core.pool.engines.values(), now)
        core.dispatcher.end_stalled()
        core.tend_spares()
        self._ticks += 1
        if self._ticks % _RESYNC == 0:
            core.poke()
        for model in list(core.failing):
            core.refresh(model)

    async def _look_at_failed_files(self) -> None:
        """A failure that lies in a file is void when the file is another one."""
        waiting = [(model, target) for model in list(self._core.failing) for target in model.targets()
                   if target.failure is not None and target.revision.spec.source.file is not None]
        for model, target in waiting:
            signature = await asyncio.to_thread(signature_of, target)
            if target.failure is not None and signature != target.signature and target in model.targets():
                self._try_again(model, target)

    def _try_again(self, model: Model, target: Target) -> None:
        target.failure = target.prepared = None
        self._core.settle(model)
        self._core.fetcher.start(target, urgent=False)
