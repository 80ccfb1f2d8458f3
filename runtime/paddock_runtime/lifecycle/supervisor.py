"""The lifecycle of a pod as the rest of the runtime sees it: configuration in, jobs in, state out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from paddock_api.errors import Code, PaddockError
from paddock_api.events import EventType
from paddock_api.history import ModelHistory
from paddock_api.identity import ModelId
from paddock_api.pool import PoolConfig
from paddock_api.state import PodState, Pressure
from paddock_api.usage import PodUsage
from paddock_runtime.bus import Bus
from paddock_runtime.engine.types import EngineType
from paddock_runtime.jobs import Job, Stream
from paddock_runtime.lifecycle.configure import Configuration
from paddock_runtime.lifecycle.core import Core
from paddock_runtime.lifecycle.files import Check, Store, no_check
from paddock_runtime.lifecycle.foresight import Guesses
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.models import Registry
from paddock_runtime.lifecycle.prompts import PromptCaches
from paddock_runtime.lifecycle.refused import Refused
from paddock_runtime.lifecycle.remember import Memory
from paddock_runtime.lifecycle.verifier import Chat, no_chat
from paddock_runtime.lifecycle.view import pod_state
from paddock_runtime.lifecycle.watcher import Watcher
from paddock_runtime.record import Record
from paddock_runtime.system.clock import Clock
from paddock_runtime.system.container import ContainerMemory, container_memory
from paddock_runtime.system.cores import usable_cores
from paddock_runtime.usage.ledger import Totals


class Supervisor:
    """Implements jobs.Service. Every method must be called on the event loop that `start` ran on.

    `memory_bytes` is the budget of all engines together, as PSS; `cores` is divided among the busy ones. `alone`: this
    is the only pod, so Pinned and Preload Models are kept here without an assignment, and a request waits for room as
    long as it may. `check` raises PaddockError for what is wrong with a revision beside its files. `record` is what it
    knows from earlier lives, and tells later ones; who gave it closes it. `container` reads what holds this pod and its
    limit. `chat` makes a prompt of messages, for `spec.verify`. `prompts` is the folder where idle prompts are kept for
    later loads; OSError when it can't be made.
    """

    def __init__(self, store: Store, engine_types: Iterable[EngineType], bus: Bus, *, memory_bytes: int,
                 pod: str = "local", alone: bool = True, version: str = "", cores: int | None = None,
                 limits: Limits | None = None, clock: Clock | None = None, check: Check = no_check,
                 record: Record | None = None,
                 container: Callable[[], ContainerMemory] = container_memory,
                 chat: Chat = no_chat, prompts: Path | None = None) -> None:
        record = record or Record()
        limits, clock = limits or Limits(), clock or Clock()
        self._pod, self._version = pod, version
        self._registry = Registry(engine_types, pod, alone=alone)
        self._core = Core(store, self._registry, bus, memory_bytes=memory_bytes, limits=limits, clock=clock,
                          cores=cores if cores is not None else usable_cores(), check=check,
                          record=record, version=version, chat=chat,
                          prompts=None if prompts is None else PromptCaches(prompts, limits))
        self._configuration = Configuration(self._core)
        self._watcher = Watcher(self._core, container=container)
        self._memory = Memory(self._core.foresight, record)
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving = self._draining = False

    # --- life

    async def start(self) -> None:
        """Begins to watch. Configurations may be applied before and after."""
        await self._memory.recall()
        self._tasks = [asyncio.create_task(self._watcher.watch_memory(), name="watch memory"),
                       asyncio.create_task(self._watcher.watch_time(), name="watch time"),
                       asyncio.create_task(self._watcher.watch_files(), name="watch files")]
        limits, now, health = self._core.limits, self._core.clock.monotonic(), self._core.health
        health.watch(self._tasks)
        health.expect("the scheduler", limits.decide_patience, now)
        health.expect("the look at the children", limits.watch_patience, now)
        health.expect("the look at memory", limits.watch_patience, now)
        self._tasks.append(asyncio.create_task(self._memory.keep(), name="keep habits"))

    def ailment(self) -> str | None:
        """What of the pod's own machinery has stopped, in words: what `/livez` asks. None: nothing has."""
        if self._draining:
            return None  # parts of it stop in turn
        return self._core.health.problem(self._core.clock.monotonic(), end_patience=self._core.limits.end_patience)

    def pressure(self) -> Pressure:
        return self._core.relieving.level

    def leave(self) -> None:
        """Says that the pod is about to end. It still takes work, until `drain`."""
        if not self._leaving:
            self._leaving = True
            self._core.foresight.stop()
            self._core.bus.publish(EventType.DRAINING)

    async def drain(self, seconds: float) -> None:
        """Takes nothing new, lets what runs finish for at most `seconds`, then ends it and everything else."""
        self.leave()
        self._draining = True
        for model in list(self._registry.models.values()):
            if self._core.ready_unit(model) is None:
                self._core.dispatcher.refuse_waiting(model, self._drained)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._core.dispatcher.quiet(), seconds)
        await self.close()

    async def close(self) -> None:
        """Ends every request, then every child. Returns when no process and no descriptor of theirs is left."""
        self._leaving = self._draining = True
        for model in list(self._registry.models.values()):
            self._core.dispatcher.refuse_waiting(model, self._drained)
        for run in list(self._core.dispatcher.running):
            self._core.dispatcher.finish(run, self._drained())
        await self._core.stop()
        self._core.past.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._memory.write()

    def _drained(self) -> PaddockError:
        return PaddockError(Code.DRAINING, "this server is shutting down: send the request again",
                            retry_after=self._core.limits.hold_retry_after)

    # --- configuration

    def apply(self, config: PoolConfig) -> None:
        """Raises PaddockError INVALID_SPEC; the configuration in force then stays."""
        if not self._draining:
            self._configuration.apply(config)

    def reject(self, generation: int, message: str) -> None:
        """Says in `/state` and on the bus that a configuration could not be read."""
        self._configuration.reject(generation, message)

    # --- jobs.Service

    def resolve(self, name: str) -> ModelId:
        return self._registry.resolve(name)

    def submit(self, job: Job) -> Stream:
        try:
            if self._draining:
                raise self._drained()
            model = self._registry.get(job.model)
        except PaddockError as error:
            self._core.bus.publish(EventType.REQUEST_REFUSED, model=None, code=error.code.value)
            return Refused(error)
        self._core.past.asked(model)
        return self._core.dispatcher.submit(model, job)

    def state(self) -> PodState:
        return pod_state(self._core, pod=self._pod, version=self._version, generation=self._configuration.generation,
                         config_hash=self._configuration.hash, config_error=self._configuration.error,
                         draining=self._leaving)

    # --- usage

    async def usage(self) -> PodUsage:
        return await self._core.usage.report(self._pod)

    def usage_of_models(self) -> tuple[dict[ModelId, Totals], Totals]:
        return self._core.usage.of_models()

    def guesses(self) -> Guesses:
        return self._core.foresight.record

    @property
    def leaving(self) -> bool:
        return self._leaving

    @property
    def generation(self) -> int:
        return self._configuration.generation

    async def load(self, model: ModelId) -> None:
        """Raises PaddockError when it is known that the load can't succeed now."""
        self._accepting()
        found = self._registry.get(model)
        now = self._core.clock.monotonic()
        failure = found.candidate.failure
        if failure is not None and failure.blocks(now) and self._core.ready_unit(found) is None:
            raise failure.error(now)
        found.asleep = False
        if self._core.ready_unit(found) is None:
            found.asked = now
        self._core.demanded(found)

    async def unload(self, model: ModelId) -> None:
        """What runs finishes first. The next request loads again."""
        found = self._registry.get(model)
        found.asked, found.asleep, found.returning = None, True, None
        unit = self._core.ready_unit(found)
        if unit is not None:
            unit.dismissed = True
            self._core.refresh(found)
        self._core.poke()

    async def history(self, model: ModelId) -> ModelHistory:
        """Raises PaddockError MODEL_NOT_FOUND, and NoRecord."""
        return await self._core.past.history(self._registry.get(model))

    async def prefetch(self, model: ModelId) -> None:
        self._accepting()
        found = self._registry.get(model)
        target = found.candidate
        now = self._core.clock.monotonic()
        if target.failure is not None and target.failure.blocks(now):
            raise target.failure.error(now)
        if target.prepared is None:
            self._core.fetcher.start(target, urgent=True)

    def _accepting(self) -> None:
        if self._draining:
            raise self._drained()
