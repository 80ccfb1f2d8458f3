"""Requests find their engine: queues, admission, strikes, retries after a crash."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Protocol

from paddock_api.errors import Code, PaddockError
from paddock_runtime.engine.frames import ProtocolError
from paddock_runtime.engine.protocol import Cancel, Embed, Generate, Message, Pause, Resume
from paddock_runtime.jobs import GenerateWork, Job, Served, Waiting, Work
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.models import Model, Registry
from paddock_runtime.lifecycle.outbox import Outbox
from paddock_runtime.lifecycle.runs import Run
from paddock_runtime.lifecycle.strikes import Strikes
from paddock_runtime.lifecycle.units import Engine, Unit
from paddock_runtime.system.clock import Clock

_log = logging.getLogger(__name__)


class Desk(Protocol):
    """Who is told when places are taken or free."""

    def ready_unit(self, model: Model) -> Unit | None:
        """The context that serves `model` now, whether or not it admits."""
        ...

    def demanded(self, model: Model) -> None:
        """A request waits that no ready context can take."""
        ...

    def unqueued(self, model: Model) -> None:
        """A request left the queue without having run."""
        ...

    def refused(self, model: Model, error: PaddockError) -> None:
        """A request ended before it ran."""
        ...

    def occupied(self, unit: Unit) -> None: ...

    def vacated(self, unit: Unit) -> None: ...

    def asked(self, run: Run) -> None:
        """A request came that may run."""
        ...

    def began(self, run: Run, unit: Unit) -> None:
        """The engine has it, until `left`."""
        ...

    def left(self, run: Run, unit: Unit) -> None: ...


class Dispatcher:
    def __init__(self, desk: Desk, registry: Registry, *, limits: Limits, clock: Clock) -> None:
        self._desk, self._registry, self._limits, self._clock = desk, registry, limits, clock
        self.strikes = Strikes(entries=limits.strike_entries, seconds=limits.strike_seconds)
        self.running: set[Run] = set()
        self._numbers = itertools.count(1)
        self._quiet = asyncio.Event()

    # --- arrival

    def submit(self, model: Model, job: Job) -> Run:
        """Queues the job, and runs it at once if there is a place. What refuses it, ends its stream."""
        outbox = Outbox(limit_bytes=self._limits.buffer_bytes, clock=self._clock.monotonic)
        now = self._clock.monotonic()
        run = Run(model, job, next(self._numbers), outbox, self, arrived=now)
        strikes = self.strikes.count(run.fingerprint, now)
        if strikes >= self._limits.strikes_to_refuse:
            self.finish(run, PaddockError(
                Code.POISON_REQUEST, f"the engine died {strikes} times while it ran this request; it is refused for "
                f"{self._limits.strike_seconds / 60:.0f} minutes: change the request"))
            return run
        if len(model.queue) >= self._limits.queue_per_model:
            self.finish(run, PaddockError(
                Code.QUEUE_FULL, f"{len(model.queue)} requests already wait for {model.id}: try again later",
                retry_after=self._limits.hold_retry_after))
            return run
        model.popularity.use(now)
        run.suspect = strikes > 0
        model.queue.append(run)
        self._desk.asked(run)
        self._admit_to(model)
        if run.unit is None and not run.ended:
            self._desk.demanded(model)
        if run.unit is None and not run.ended:
            run.outbox.put(Waiting(phase=model.phase, progress=model.told_progress))
            self._arm(run)
        return run

    async def quiet(self) -> None:
        """Returns when nothing runs and nothing waits."""
        while self._works():
            self._quiet.clear()
            await self._quiet.wait()

    def _works(self) -> bool:
        return bool(self.running) or any(model.queue for model in self._registry.models.values())

    def _notice_quiet(self) -> None:
        if not self.running:
            self._quiet.set()

    def tell_waiting(self, model: Model) -> None:
        """Each that waits hears of the new phase or progress."""
        for run in model.queue:
            run.outbox.put(Waiting(phase=model.phase, progress=model.told_progress))

    def refuse_waiting(self, model: Model, error: Callable[[], PaddockError]) -> None:
        """Ends all that wait for `model`; each gets an error of its own."""
        for run in list(model.queue):
            self.finish(run, error())

    def refuse_hopeless(self, model: Model, room_at: float, error: Callable[[float], PaddockError]) -> None:
        """Ends those that wait for `model` and may not wait until `room_at`; `error` is given the seconds till then."""
        now = self._clock.monotonic()
        for run in [run for run in model.queue if run.hold_until < room_at]:
            self.finish(run, error(room_at - now))

    # --- admission

    def admit(self, unit: Unit) -> None:
        """Gives the unit's free places to those that wait for it, oldest first. Suspects run alone in their engine."""
        engine = unit.engine
        while unit.admits and engine.exclusive is None and len(unit.running) < unit.places:
            suspect = self._oldest(engine, suspects=True)
            if suspect is not None:
                if engine.running == 0:
                    self._start(suspect)
                return
            run = self._next(unit, suspects=False)
            if run is None:
                return
            self._start(run)

    def _admit_to(self, model: Model) -> None:
        unit = self._desk.ready_unit(model)
        if unit is not None:
            self.admit(unit)

    def _oldest(self, engine: Engine, *, suspects: bool) -> Run | None:
        waiting = [run for unit in engine.units.values() if unit.admits
                   and (run := self._next(unit, suspects=suspects)) is not None]
        return min(waiting, key=lambda run: run.number, default=None)

    def _next(self, unit: Unit, *, suspects: bool) -> Run | None:
        """The oldest run that waits for this unit."""
        heads = [run for model in self._registry.users(unit.key) if model.queue and self._desk.ready_unit(model) is unit
                 and (run := next((each for each in model.queue if each.suspect is suspects), None)) is not None]
        return min(heads, key=lambda run: run.number, default=None)

    def _start(self, run: Run) -> None:
        model, unit = run.model, self._desk.ready_unit(run.model)
        assert unit is not None, "only who has a ready unit is admitted"
        assert unit.opened is not None
        assert unit.engine.facts is not None
        assert model.active is not None
        model.queue.remove(run)
        run.unit = unit
        run.served = Served(model=model.id, revision=model.active.revision, facts=unit.engine.facts,
                            context_length=unit.opened.context_length)
        unit.running.add(run)
        self.running.add(run)
        model.busy += 1
        if run.suspect:
            unit.engine.exclusive = run
        self._desk.occupied(unit)
        run.task = asyncio.create_task(self._prepare(run, run.served), name=f"prepare {run.job.request_id}")
        self._arm(run)

    async def _prepare(self, run: Run, served: Served) -> None:
        try:
            work = await run.job.prepare(served)
            if not run.ended and run.unit is not None:
                self._send(run, run.unit, work)
        except PaddockError as error:
            self.finish(run, error)
        except ProtocolError as error:
            self.finish(run, PaddockError(Code.BODY_TOO_LARGE, f"the request is too large for the engine: {error}"))
        except Exception:  # noqa: BLE001 - whatever it is, the client must hear
            _log.exception("a request could not be prepared", extra={"model": str(run.job.model)})
            self.finish(run, PaddockError(Code.INTERNAL, "the request could not be prepared; the log says why"))

    def _send(self, run: Run, unit: Unit, work: Work) -> None:
        engine, messages = unit.engine, list[Message]()
        for choice in range(work.choices if isinstance(work, GenerateWork) else 1):
            number = next(engine.requests)
            messages.append(_message(work, choice, number, unit.number, run.salt, run.model.salt))
            run.ids[number] = choice
            engine.receivers[number] = run
        run.sent = True
        self._desk.began(run, unit)
        run.outbox.on_slow = lambda: self._tell(run, Pause)
        run.outbox.on_taken = lambda: self._tell(run, Resume)
        for message in messages:
            engine.client.send(message)

    def _tell(self, run: Run, kind: type[Pause] | type[Resume] | type[Cancel]) -> None:
        if run.unit is not None:
            for number in run.ids:
                run.unit.engine.client.send(kind(id=number))

    # --- the end of a run

    def finish(self, run: Run, error: PaddockError | None = None, *, drop: bool = False) -> None:
        """`drop`: its reader has left. Without error and drop it is complete."""
        if run.ended:
            return
        run.outbox.end(error, drop=drop)
        if run.timer is not None:
            run.timer.cancel()
        if run.task is not None and run.task is not asyncio.current_task():
            run.task.cancel()
        if error is None and not drop and run.content:
            self.strikes.forgive(run.fingerprint)
        if run.unit is not None:
            self._leave(run, run.unit)
            return
        if run in run.model.queue:
            run.model.queue.remove(run)
            self._notice_quiet()
            self._desk.unqueued(run.model)
        if error is not None:
            self._desk.refused(run.model, error)

    def _leave(self, run: Run, unit: Unit) -> None:
        self._tell(run, Cancel)
        self._vacate(run, unit)
        self._desk.vacated(unit)

    def _vacate(self, run: Run, unit: Unit) -> None:
        engine = unit.engine
        for number in run.ids:
            engine.receivers.pop(number, None)
        if run.sent:
            self._desk.left(run, unit)
        unit.running.discard(run)
        self.running.discard(run)
        self._notice_quiet()
        unit.last_used = self._clock.monotonic()
        if engine.exclusive is run:
            engine.exclusive = None
        run.model.busy -= 1
        run.model.last_used = unit.last_used

    def engine_died(self, engine: Engine, error: PaddockError) -> None:
        """Strikes for all that ran; who got no content yet is run once more, alone."""
        now = self._clock.monotonic()
        for unit in list(engine.units.values()):
            for run in sorted((run for run in unit.running if isinstance(run, Run)), key=lambda run: -run.number):
                sent = run.sent
                if sent:
                    self.strikes.strike(run.fingerprint, now)
                if not sent or (error.code is Code.ENGINE_CRASHED and not run.content and not run.retried):
                    self._once_more(run, unit, suspect=sent, now=now)
                else:
                    self.finish(run, PaddockError(error.code, error.message, retry_after=error.retry_after))

    def unit_gone(self, unit: Unit) -> None:
        """Whatever is still in it goes back to its queue: no request is ever lost without a word."""
        now = self._clock.monotonic()
        for run in [run for run in unit.running if isinstance(run, Run)]:
            if run.content or run.retried:
                self.finish(run, PaddockError(Code.ENGINE_CRASHED, "the engine was ended while it ran this request"))
            else:
                self._once_more(run, unit, suspect=run.sent, now=now)

    def _once_more(self, run: Run, unit: Unit, *, suspect: bool, now: float) -> None:
        self._vacate(run, unit)
        run.back_to_queue()
        run.suspect, run.retried = run.suspect or suspect, run.retried or suspect
        if run.model.removed:
            self.finish(run, PaddockError(
                Code.MODEL_NOT_FOUND, f"the Model {run.job.model} was removed", param="model"))
            return
        run.hold_until = max(run.job.hold_until, min(run.job.deadline, now + self._limits.retry_hold))
        run.model.queue.appendleft(run)
        self._desk.demanded(run.model)
        self._arm(run)

    # --- time

    def _arm(self, run: Run) -> None:
        if run.timer is not None:
            run.timer.cancel()
        if run.ended:
            return
        now = self._clock.monotonic()
        due = run.job.deadline if run.unit is not None else min(run.job.deadline, max(run.hold_until, now))
        run.timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._due, run)

    def _due(self, run: Run) -> None:
        now = self._clock.monotonic()
        if run.ended:
            return
        if now >= run.job.deadline:
            self.finish(run, PaddockError(Code.DEADLINE, "the request's deadline has passed before it was complete"))
        elif run.unit is None and now >= run.hold_until:
            self._hold_expired(run, now)
        else:
            self._arm(run)

    def _hold_expired(self, run: Run, now: float) -> None:
        """Its wait for a load is over. Who only waits for a place in a ready engine may do so until its deadline."""
        model, unit = run.model, self._desk.ready_unit(run.model)
        if unit is not None and unit.admits:
            run.hold_until = min(run.job.deadline, now + 1.0)
            self._arm(run)
            return
        failure = model.candidate.failure
        why = f" (last failure: {failure.message})" if failure is not None else ""
        self.finish(run, PaddockError(
            Code.HOLD_EXPIRED, f"{model.id} was not ready in the time that this request may wait; it is "
            f"{model.phase.value}{why}", retry_after=self._limits.hold_retry_after))

    def end_stalled(self) -> None:
        """Cancels what nobody reads."""
        now = self._clock.monotonic()
        for run in [run for run in self.running if run.outbox.stalled_for(now) >= self._limits.stall_seconds]:
            self.finish(run, PaddockError(
                Code.CLIENT_STALLED, f"the client read nothing for {self._limits.stall_seconds:.0f} s"), drop=True)


def _message(work: Work, choice: int, number: int, context: int, salt: str, shared: str) -> Message:
    if not isinstance(work, GenerateWork):
        return Embed(id=number, context=context, inputs=work.inputs)
    return Generate(id=number, context=context, salt=salt, shared=shared, prompt=work.prompt,
                    max_tokens=work.max_tokens, sampling=work.sampling_of(choice), stop=work.stop,
                    logprobs=work.logprobs, grammar=work.grammar, json_schema=work.json_schema)
