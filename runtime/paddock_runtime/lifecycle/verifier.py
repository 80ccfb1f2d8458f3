"""Verified switches: a revision with `spec.verify` serves only after it got its checks right.

It is loaded as any other, beside the old one if that fits. What its distances are measured against is recorded from
the active revision before the load may begin, for that one may have to leave to make room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from paddock_api.errors import Code, PaddockError
from paddock_api.events import EventType
from paddock_api.verify import Check, Demand
from paddock_runtime.bus import Bus
from paddock_runtime.jobs import Served
from paddock_runtime.lifecycle.checks import distance, judge, shown
from paddock_runtime.lifecycle.limits import Limits
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.proofs import Proofs
from paddock_runtime.lifecycle.session import Refused, Session
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.lifecycle.units import Unit
from paddock_runtime.record import Record
from paddock_runtime.system.clock import Clock

_log = logging.getLogger(__name__)
_RENDERS = 3  # attempts, when not the template but its renderer fails
_RENDER_PAUSE = 1.0  # seconds between them

Chat = Callable[[Served, list[dict[str, Any]]], Awaitable[str]]


async def no_chat(served: Served, messages: list[dict[str, Any]]) -> str:
    """For who has no renderer."""
    raise PaddockError(Code.TEMPLATE_FAILED, "chats can't be rendered here: give a prompt instead of messages")


class Owner(Protocol):
    """Who decides what serves. Calls come on the event loop."""

    def settle(self, model: Model) -> None: ...

    def occupied(self, unit: Unit) -> None: ...

    def vacated(self, unit: Unit) -> None: ...

    def verify_failed(self, model: Model, target: Target, error: PaddockError) -> None: ...


class Failed(Exception):
    """A check that was not met; the text is the evidence."""

    def __init__(self, index: int, check: Check, what: str) -> None:
        kind = check.demand.value
        super().__init__(f"spec.verify[{index}] ({kind}) on {_asked(check)}: {what}")
        self.index = index


@dataclass(eq=False)
class _Job:
    """`units` are those it needs; when one goes, so does the job."""

    model: Model
    target: Target
    reference: Unit | None
    unit: Unit | None
    task: asyncio.Task[None] | None = None
    distances: dict[int, float] = field(default_factory=dict)

    @property
    def units(self) -> tuple[Unit | None, Unit | None]:
        return self.reference, self.unit


class Verifier:
    """At most one job a Model: recording the active revision's logits, then the checks of the candidate."""

    def __init__(self, owner: Owner, bus: Bus, *, limits: Limits, clock: Clock, chat: Chat,
                 record: Record) -> None:
        self._owner, self._bus, self._limits, self._clock, self._chat = owner, bus, limits, clock, chat
        self._jobs: dict[Model, _Job] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.proofs = Proofs(record, limits.learned_entries)

    def may_serve(self, model: Model, *, ready: Unit | None, active: Unit | None) -> bool:
        """Whether the candidate may serve from `ready`, its context; begins what is missing for that. `active`: the
        context that serves now."""
        candidate, job = model.candidate, self._jobs.get(model)
        proven = self.proofs.holds(model, candidate)
        if job is not None and (job.target is not candidate or model.removed or proven):
            self._drop(job)
            job = None
        if proven:
            return ready is not None
        if job is not None or model.removed or candidate.bad:
            return False
        compared = candidate.references is None and any(
            check.demand is Demand.DISTANCE for check in candidate.revision.spec.verify)
        reference = active if compared and model.active is not candidate and candidate.prepared else None
        if ready is not None or reference is not None:
            self._begin(_Job(model, candidate, reference, ready))
        return False

    def unit_gone(self, unit: Unit) -> None:
        """No answer will come from it. Who died of its own checks twice, failed them."""
        for job in [job for job in self._jobs.values() if unit in job.units]:
            self._drop(job)
            died = unit.engine.error
            if unit is not job.unit or died is None:
                continue
            job.target.verify_deaths += 1
            if job.target.verify_deaths > 1:
                self._failed(job, PaddockError(
                    Code.VERIFY_FAILED, "the engine died twice while it was verified; the last time: "
                    f"{died.message}", param="spec.verify"), self._clock.monotonic())

    async def close(self) -> None:
        for job in list(self._jobs.values()):
            self._drop(job)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _begin(self, job: _Job) -> None:
        self._jobs[job.model] = job
        job.model.recording, job.model.verifying = job.unit is None, job.unit is not None
        job.task = asyncio.create_task(self._work(job), name=f"verify {job.model.id}")
        self._ending.add(job.task)
        job.task.add_done_callback(self._ending.discard)

    def _drop(self, job: _Job) -> None:
        if self._jobs.get(job.model) is job:
            del self._jobs[job.model]
            job.model.recording = job.model.verifying = False
        if job.task is not None and job.task is not asyncio.current_task():
            job.task.cancel()

    # --- a job

    async def _work(self, job: _Job) -> None:
        began = self._clock.monotonic()
        error: PaddockError | None = None
        try:
            async with asyncio.timeout(self._limits.verify_timeout):
                if job.reference is not None:
                    job.target.references = await self._record(job, job.reference)
                if job.unit is not None:
                    await self._check_all(job, job.unit)
        except Failed as failed:
            error = PaddockError(Code.VERIFY_FAILED, str(failed), param=f"spec.verify[{failed.index}]")
        except TimeoutError:
            error = PaddockError(
                Code.VERIFY_FAILED, f"its checks were not through in {self._limits.verify_timeout:.0f} s: have fewer, "
                "or lower their maxTokens", param="spec.verify")
        except Exception as fault:  # noqa: BLE001 - a revision that could not be verified must not serve
            _log.exception("a revision could not be verified", extra={"model": str(job.model.id)})
            error = PaddockError(Code.VERIFY_FAILED, f"it could not be verified: {type(fault).__name__}; the log says "
                                 "more", param="spec.verify")
        if self._jobs.get(job.model) is not job:
            return  # it was dropped in its last moment
        self._drop(job)
        if job.unit is None:  # only recorded: a reference that could not be had is none
            job.target.references = job.target.references or {}
            self._owner.settle(job.model)
        elif error is None:
            self._passed(job, began)
        else:
            self._failed(job, error, began)

    async def _record(self, job: _Job, unit: Unit) -> dict[int, bytes]:
        """The active revision's logits by check. What it refuses can't be compared."""
        found: dict[int, bytes] = {}
        assert job.model.active is not None
        with self._session(unit) as session:
            for index, check in _of(job.target, Demand.DISTANCE):
                try:
                    # rendered as the new revision would: both are asked the same
                    found[index] = await session.score(await self._prompt(job, unit, index, check))
                except Refused as refused:
                    _log.warning("no reference for a check", extra={"model": str(job.model.id), "why": str(refused)})
        return found

    async def _check_all(self, job: _Job, unit: Unit) -> None:
        """Raises Failed at the first that is not met."""
        with self._session(unit) as session:
            for index, check in enumerate(job.target.revision.spec.verify):
                prompt = await self._prompt(job, unit, index, check)
                try:
                    if check.demand is Demand.DISTANCE:
                        self._compare(job, index, check, await session.score(prompt))
                        continue
                    answer = await session.generate(prompt, check.max_tokens)
                except Refused as refused:
                    raise Failed(index, check, f"the engine refused it: {refused}") from None
                if (problem := judge(check, answer)) is not None:
                    raise Failed(index, check, problem)

    def _compare(self, job: _Job, index: int, check: Check, logits: bytes) -> None:
        reference = (job.target.references or {}).get(index)
        assert check.max_distance is not None
        if reference is None:
            return
        try:
            measured = distance(reference, logits)
        except ValueError as error:
            raise Failed(index, check, str(error)) from None
        job.distances[index] = measured
        if measured > check.max_distance:
            raise Failed(index, check, f"the logits are {measured:.4f} nats from those of the active revision, "
                                       f"more than {check.max_distance:g}")

    async def _prompt(self, job: _Job, unit: Unit, index: int, check: Check) -> str:
        if check.messages is None:
            assert check.prompt is not None
            return check.prompt
        assert unit.engine.facts is not None
        assert unit.opened is not None
        served = Served(model=job.model.id, revision=job.target.revision, facts=unit.engine.facts,
                        context_length=unit.opened.context_length)
        messages = [message.model_dump(mode="json") for message in check.messages]
        for attempt in range(_RENDERS):
            try:
                return await self._chat(served, messages)
            except PaddockError as error:
                if error.code is Code.TEMPLATE_FAILED or attempt == _RENDERS - 1:
                    raise Failed(index, check, f"its chat could not be rendered: {error.message}") from None
                await asyncio.sleep(_RENDER_PAUSE)
        raise AssertionError("the last attempt returned or raised")

    def _session(self, unit: Unit) -> _Occupied:
        return _Occupied(self._owner, unit)

    # --- its end

    def _passed(self, job: _Job, began: float) -> None:
        self.proofs.add(job.target)
        job.target.references = None
        self._tell(job, "passed", began)
        self._owner.settle(job.model)

    def _failed(self, job: _Job, error: PaddockError, began: float) -> None:
        job.target.references = None
        self._tell(job, "failed", began, evidence=error.message)
        self._owner.verify_failed(job.model, job.target, error)

    def _tell(self, job: _Job, outcome: str, began: float, **more: str) -> None:
        self._bus.publish(
            EventType.VERIFY, model=str(job.model.id), revision=job.target.revision.id, outcome=outcome,
            checks=len(job.target.revision.spec.verify), seconds=round(self._clock.monotonic() - began, 3),
            distances={str(index): round(each, 6) for index, each in job.distances.items()}, **more)


class _Occupied(Session):
    """A session for which its engine gets cores."""

    def __init__(self, owner: Owner, unit: Unit) -> None:
        super().__init__(unit)
        self._owner, self._held = owner, unit

    def __enter__(self) -> _Occupied:
        super().__enter__()
        self._owner.occupied(self._held)
        return self

    def __exit__(self, *details: Any) -> None:
        super().__exit__(*details)
        self._owner.vacated(self._held)


def _of(target: Target, demand: Demand) -> Sequence[tuple[int, Check]]:
    return [(index, check) for index, check in enumerate(target.revision.spec.verify) if check.demand is demand]


def _asked(check: Check) -> str:
    return shown(check.prompt if check.prompt is not None else (check.messages or [])[-1].content)
