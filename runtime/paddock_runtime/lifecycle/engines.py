"""The children: started, asked to load and to open contexts, closed, ended; each report goes where it belongs.

Reacts to what the children say. It decides nothing about who is loaded; the owner hears of every change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from paddock_api.errors import Code, PaddockError
from paddock_api.events import EventType
from paddock_runtime.bus import Bus
from paddock_runtime.engine.client import EngineClient
from paddock_runtime.engine.protocol import (
    PROTOCOL_VERSION,
    CloseContext,
    ContextClosed,
    ContextFailed,
    ContextOpened,
    Embedded,
    Hello,
    Loaded,
    LoadFailed,
    Notice,
    OpenContext,
    Progress,
    Rejected,
    Report,
    Scored,
    Started,
    Stats,
    Step,
    Threads,
)
from paddock_runtime.lifecycle.ends import crash_error, engine_code
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.prompts import PromptCaches
from paddock_runtime.lifecycle.session import Session
from paddock_runtime.lifecycle.spares import Spares
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.units import Engine, EngineStage, Unit, UnitState
from paddock_runtime.store import Artifact
from paddock_runtime.system.clock import Clock
from paddock_runtime.system.readahead import ReadAhead

_log = logging.getLogger(__name__)


class Owner(Protocol):
    """Who decides. Calls come on the event loop, after the state changed."""

    def unit_ready(self, unit: Unit) -> None: ...

    def unit_progress(self, unit: Unit, fraction: float) -> None: ...

    def unit_failed(self, unit: Unit, error: PaddockError) -> None:
        """It will not become ready. Its bytes count until `unit_gone`."""
        ...

    def unit_stale(self, unit: Unit, error: PaddockError) -> None:
        """The files changed since they were verified; nothing was loaded."""
        ...

    def unit_gone(self, unit: Unit) -> None: ...

    def engine_died(self, engine: Engine, error: PaddockError) -> None:
        """Before its units are gone: what ran in it is lost."""
        ...


class EnginePool:
    """All engines by weights key, all units by context key."""

    def __init__(self, owner: Owner, bus: Bus, *, limits: Limits, clock: Clock,
                 verify: Callable[[Artifact], None], spares: Spares, prompts: PromptCaches | None = None,
                 cores: int = 1) -> None:
        self._prompts = prompts
        self._owner, self._bus, self._limits, self._clock, self._verify = owner, bus, limits, clock, verify
        self._spares = spares
        self._ahead = ReadAhead(at_once=limits.loads_at_once(cores), most_bytes=limits.read_ahead_bytes)
        self.engines: dict[str, Engine] = {}
        self.units: dict[str, Unit] = {}
        self._closing: set[asyncio.Task[int]] = set()

    def open(self, target: Target, *, weights_bytes: int, threads: int) -> Unit:
        """A context for `target`, in the engine that has its weights or in a new one."""
        prepared = target.prepared
        assert prepared is not None, "only what is on this machine can be loaded"
        now = self._clock.monotonic()
        engine = self.engines.get(prepared.weights) or self._engine(target, weights_bytes, threads)
        unit = Unit(key=prepared.context, engine=engine, target=target, number=next(engine.numbers),
                    context_bytes=prepared.charge.context_bytes, since=now, asked_at=now)
        engine.units[unit.key] = self.units[unit.key] = unit
        if engine.stage is EngineStage.READY:
            self._open_context(unit)
        return unit

    def close(self, unit: Unit) -> None:
        """Ends a context; the engine too if it was the last. `unit_gone` follows when its memory is free."""
        unit.state = UnitState.LEAVING
        unit.since = self._clock.monotonic()
        engine = unit.engine
        if any(other.state is not UnitState.LEAVING for other in engine.units.values()):
            engine.client.send(CloseContext(context=unit.number))
        else:
            self._end(engine)

    def kill(self, engine: Engine, error: PaddockError) -> None:
        """Ends a child at once; `error` is why."""
        if engine.error is None:
            engine.error = error
        engine.stage = EngineStage.ENDING
        if engine.client.process is not None:
            engine.client.process.kill()

    def set_threads(self, engine: Engine, count: int) -> None:
        engine.threads = count
        if engine.stage is EngineStage.READY and engine.told_threads != count:
            engine.told_threads = count
            engine.client.send(Threads(count=count))

    async def shut(self) -> None:
        """Ends all children and returns when the last is reaped."""
        for engine in list(self.engines.values()):
            self._end(engine)
        tasks = [engine.task for engine in self.engines.values() if engine.task is not None]
        await asyncio.gather(*tasks, *self._closing, return_exceptions=True)

    def _engine(self, target: Target, weights_bytes: int, threads: int) -> Engine:
        prepared = target.prepared
        assert prepared is not None
        engine = Engine(key=prepared.weights, engine_type=target.engine_type, weights_bytes=weights_bytes,
                        client=EngineClient(lambda report: self._report(engine, report), self._clock),
                        started_at=self._clock.monotonic(), threads=threads,
                        estimated_bytes=prepared.charge.weights_bytes)
        self.engines[engine.key] = engine
        engine.task = asyncio.create_task(self._live(engine, target), name=f"engine {engine.key}")
        return engine

    async def _live(self, engine: Engine, target: Target) -> None:
        """One child's life, from the last look at its files until it is reaped."""
        prepared = target.prepared
        assert prepared is not None
        stop_reading = self._ahead.begin(prepared.files.paths)
        try:
            await self._live_on(engine, prepared.artifacts)
        finally:
            stop_reading()

    async def _live_on(self, engine: Engine, artifacts: Iterable[Artifact]) -> None:
        try:
            await asyncio.to_thread(self._verify_all, artifacts)
        except PaddockError as error:
            for unit in list(engine.units.values()):
                self._owner.unit_stale(unit, error)
            self._forget(engine)
            return
        if engine.ending:
            if engine.error is not None:
                self._fail(engine, engine.error)
            self._forget(engine)
            return
        if await self._lived_as_spare(engine):
            return
        try:
            process = await engine.client.start(engine.engine_type)
        except OSError as error:
            self._fail(engine, PaddockError(
                Code.LOAD_FAILED, f"the engine can't be started: {error.strerror or error}"))
            self._forget(engine)
            return
        self._bus.publish(EventType.ENGINE_STARTED, engine=engine.key, pid=process.pid)
        self._end_if_asked(engine)
        self._ended(engine, await process.ended())

    async def _lived_as_spare(self, engine: Engine) -> bool:
        """Takes the spare child if there is one. False: there is none, or it was dead before it could begin, which is
        no fault of this load."""
        spare = self._spares.take(engine.engine_type)
        if spare is None or spare.hello is None or spare.client.process is None:
            return False
        process, unused = spare.client.process, engine.client
        engine.client, engine.started_at = spare.client, self._clock.monotonic()
        engine.client.listen(lambda report: self._report(engine, report))
        self._bus.publish(EventType.ENGINE_STARTED, engine=engine.key, pid=process.pid)
        self._report(engine, spare.hello)
        code = await process.ended()
        if engine.error is not None or engine.ending or engine.heard:
            self._ended(engine, code)
            return True
        self._bus.publish(EventType.ENGINE_ENDED, engine=engine.key, pid=process.pid, code=code, reason="spare",
                          requests=0, message=None, stderr=[])
        engine.client, engine.stage = unused, EngineStage.STARTING
        return False

    def _end_if_asked(self, engine: Engine) -> None:
        """It may have been told to go while it was being started."""
        if engine.ending:
            self._end(engine)

    def _verify_all(self, artifacts: Iterable[Artifact]) -> None:
        for artifact in artifacts:
            self._verify(artifact)

    def _ended(self, engine: Engine, code: int) -> None:
        process = engine.client.process
        assert process is not None
        if engine.error is None and engine.stage is not EngineStage.ENDING:
            loading = engine.stage is not EngineStage.READY
            engine.error = crash_error(code, process.tail(), loading=loading, fault=engine.client.fault)
        engine.stage = EngineStage.ENDING
        reason = "unloaded" if engine.error is None else engine.error.code.value
        requests = len({id(receiver) for receiver in engine.receivers.values()})
        message = None if engine.error is None else engine.error.message
        self._bus.publish(EventType.ENGINE_ENDED, engine=engine.key, pid=process.pid, code=code, reason=reason,
                          requests=requests, message=message, stderr=[] if message is None else process.tail())
        if engine.error is not None:
            _log.warning("an engine ended: %s", engine.error.message, extra={"engine": engine.key, "reason": reason})
            self._owner.engine_died(engine, engine.error)
            self._fail(engine, engine.error)
        self._forget(engine)

    def _fail(self, engine: Engine, error: PaddockError) -> None:
        for unit in list(engine.units.values()):
            if unit.state is UnitState.LOADING:
                self._unit_failed(unit, error)

    def _unit_failed(self, unit: Unit, error: PaddockError) -> None:
        unit.state = UnitState.LEAVING
        self._owner.unit_failed(unit, error)

    def _forget(self, engine: Engine) -> None:
        engine.stage = EngineStage.ENDING
        self.engines.pop(engine.key, None)
        for unit in list(engine.units.values()):
            self._gone(unit)

    def _gone(self, unit: Unit) -> None:
        unit.state = UnitState.LEAVING
        unit.engine.units.pop(unit.key, None)
        self.units.pop(unit.key, None)
        self._owner.unit_gone(unit)

    def _end(self, engine: Engine) -> None:
        """Closes the child's socket; it is killed if it does not end in time."""
        engine.stage = EngineStage.ENDING
        if engine.client.process is not None:
            task = asyncio.create_task(engine.client.process.close(self._limits.close_grace))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _open_context(self, unit: Unit) -> None:
        prepared = unit.target.prepared
        assert prepared is not None
        unit.since = self._clock.monotonic()
        options = unit.engine.engine_type.context_options(prepared.files, unit.target.revision)
        unit.engine.client.send(OpenContext(
            context=unit.number, options=options, prompts=self._prompts.of(unit.key) if self._prompts else None))

    def _report(self, engine: Engine, report: Report) -> None:
        match report:
            case Step(number=number, deltas=deltas):
                self._stepped(engine, number)
                for delta in deltas:
                    if receiver := engine.receivers.get(delta.id):
                        receiver.delta(delta)
            case Stats():
                if engine.stats is None or report.step != engine.stats.step or not report.busy:
                    self._stepped(engine, report.step)
                engine.stats = report
            case Started() | Rejected() | Embedded() | Scored():
                self._answer(engine, report)
            case ContextOpened() | ContextFailed() | ContextClosed():
                self._context(engine, report)
            case Hello() | Progress() | Loaded() | LoadFailed():
                self._loading(engine, report)
            case Notice(message=message):
                _log.warning("an engine says: %s", message, extra={"engine": engine.key})

    def _loading(self, engine: Engine, report: Hello | Progress | Loaded | LoadFailed) -> None:
        engine.heard = engine.heard or not isinstance(report, Hello)
        match report:
            case Hello(protocol=protocol):
                self._greeted(engine, protocol)
            case Progress(fraction=fraction):
                for unit in list(engine.units.values()):
                    self._owner.unit_progress(unit, fraction)
            case Loaded(facts=facts):
                engine.facts = facts
                engine.stage = EngineStage.READY
                self._stepped(engine, 0)
                self.set_threads(engine, engine.threads)
                for unit in list(engine.units.values()):
                    if unit.state is UnitState.LOADING:  # it may have been told to leave meanwhile
                        self._open_context(unit)
            case LoadFailed(code=word, message=message):
                engine.error = PaddockError(engine_code(word, Code.LOAD_FAILED), message)
                self._fail(engine, engine.error)
                self._end(engine)

    def _answer(self, engine: Engine, report: Started | Rejected | Embedded | Scored) -> None:
        receiver = engine.receivers.get(report.id)
        if receiver is None:
            return  # it was cancelled while the answer was on its way
        match report:
            case Started():
                receiver.started(report)
            case Rejected():
                receiver.rejected(report)
            case Embedded():
                receiver.embedded(report)
            case Scored() if isinstance(receiver, Session):  # only these ask for it
                receiver.scored(report)

    def _greeted(self, engine: Engine, protocol: int) -> None:
        if protocol != PROTOCOL_VERSION:
            self.kill(engine, PaddockError(
                Code.LOAD_FAILED, f"the engine speaks protocol {protocol}, this pod {PROTOCOL_VERSION}: "
                "install engine and runtime of one version"))
            return
        unit = next(iter(engine.units.values()), None)
        if unit is None or unit.target.prepared is None or engine.stage is EngineStage.ENDING:
            return
        engine.stage = EngineStage.LOADING
        engine.told_threads = engine.threads
        engine.client.send(engine.engine_type.load(unit.target.prepared.files, unit.target.revision,
                                                   threads=engine.threads))

    def _context(self, engine: Engine, report: ContextOpened | ContextFailed | ContextClosed) -> None:
        unit = next((unit for unit in engine.units.values() if unit.number == report.context), None)
        if unit is None:
            return
        if isinstance(report, ContextOpened):
            unit.opened = report
            if unit.state is UnitState.LOADING:
                unit.state = UnitState.READY
                unit.loaded_at = unit.last_used = self._clock.monotonic()
                unit.load_seconds = unit.loaded_at - unit.asked_at
                self._owner.unit_ready(unit)
            return
        if isinstance(report, ContextFailed):
            self._unit_failed(unit, PaddockError(engine_code(report.code, Code.CONTEXT_FAILED), report.message))
        if len(engine.units) > 1:
            self._gone(unit)
        elif engine.stage is not EngineStage.ENDING:
            self._end(engine)

    def _stepped(self, engine: Engine, number: int) -> None:
        engine.steps = number
        engine.stepped_at = self._clock.monotonic()
