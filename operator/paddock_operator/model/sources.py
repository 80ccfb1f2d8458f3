"""When a source is asked, and when what is known of it is enough. The asking itself is `paddock_operator.resolve`."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from paddock_api.behaviour import UpdatePolicy
from paddock_api.canonical import short_hash
from paddock_api.errors import Code, PaddockError
from paddock_api.estimate import engine_options, estimate
from paddock_api.gguf import GgufHeader
from paddock_api.model import ModelSpec
from paddock_api.revision import Resolution, Revision
from paddock_api.source import Source
from paddock_api.status import ModelFacts
from paddock_operator.clock import Clock, monotonic
from paddock_operator.queue import Backoff
from paddock_operator.store import Key

_FRESH = 60.0
_MOST_KEPT = 64
_CONCURRENT = 8


class Resolved(Protocol):
    """`header` is None for what only the pods can read."""

    @property
    def resolution(self) -> Resolution: ...
    @property
    def facts(self) -> ModelFacts: ...
    @property
    def header(self) -> GgufHeader | None: ...


class Pin(Protocol):
    """What was resolved before, as far as it is still known."""

    @property
    def resolution(self) -> Resolution: ...
    @property
    def header(self) -> GgufHeader | None: ...


@dataclass(frozen=True)
class Known:
    """What a revision tells of its source: enough to stay at its pin."""

    resolution: Resolution
    header: GgufHeader | None


class Resolver(Protocol):
    async def resolve(self, source: Source, *, pinned: Pin | None, follow: bool,
                      credentials: Mapping[str, Any]) -> Resolved:
        """Raises PaddockError: SOURCE_UNAVAILABLE and what has a `retry_after` may pass, any other lasts until the spec
        changes."""
        ...


class Ask(StrEnum):
    NO = "no"  # what is known is enough
    ANEW = "anew"  # another source than before
    AGAIN = "again"  # the same, from its pin on


@dataclass(frozen=True)
class Question:
    """`current`: the revision that the status names. `requested`: the wish for a reconcile, if it is not obeyed yet.
    `scope`: what answers may be shared within (pool and credential). `credentials()` is called only when the source is
    asked."""

    model: Key
    spec: ModelSpec
    current: Revision | None
    requested: str | None
    scope: str
    credentials: Callable[[], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Answer:
    """`facts` and `estimated` are None when nobody was asked. `again`: seconds until it should be asked again."""

    resolution: Resolution
    facts: ModelFacts | None = None
    estimated: int | None = None
    again: float | None = None


@dataclass
class _Failure:
    fingerprint: str
    error: PaddockError
    count: int
    until: float | None  # None: until the fingerprint changes


def ask(question: Question, *, has_header: bool, follow_due: bool) -> Ask:
    """Whether the source is to be asked. Pure."""
    current, spec = question.current, question.spec
    if current is None or current.spec.source != spec.source:
        return Ask.ANEW
    engine_changed = current.spec.engine != spec.engine and not has_header
    follows = spec.update_policy is UpdatePolicy.FOLLOW and follow_due
    return Ask.AGAIN if engine_changed or follows or question.requested is not None else Ask.NO


class Sources:
    """`follow`: seconds between two questions for a Model whose updatePolicy is Follow."""

    def __init__(self, resolver: Resolver, *, follow: float, clock: Clock = monotonic,
                 backoff: Backoff | None = None) -> None:
        self._resolver = resolver
        self._follow = follow
        self._clock = clock
        self._backoff = backoff or Backoff(base=5.0, most=300.0)
        self._limit = asyncio.Semaphore(_CONCURRENT)
        self._failures: dict[Key, _Failure] = {}
        self._due: dict[Key, float] = {}
        self._headers: OrderedDict[str, GgufHeader] = OrderedDict()
        self._fresh: OrderedDict[str, tuple[float, Resolved]] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    async def answer(self, question: Question) -> Answer:
        """Raises PaddockError, with `retry_after` when it is tried again then; remembered, not asked anew, until it
        makes sense."""
        wanted = ask(question, has_header=self._header(question) is not None, follow_due=self._follow_due(question))
        if wanted is Ask.NO:
            return self._unasked(question)
        try:
            resolved = await self._asked(question, anew=wanted is Ask.ANEW)
        except PaddockError as error:
            moves = question.spec.update_policy is UpdatePolicy.FOLLOW and not _passing(error)
            if wanted is Ask.ANEW or moves:
                raise
            return self._unasked(question, again=error.retry_after)  # the pin is as good as before
        self._due[question.model] = self._clock() + self._follow
        return Answer(resolved.resolution, resolved.facts, _estimate(question.spec, resolved.header),
                      self._next(question))

    def forget(self, model: Key) -> None:
        self._failures.pop(model, None)
        self._due.pop(model, None)

    def _unasked(self, question: Question, again: float | None = None) -> Answer:
        assert question.current is not None
        estimated = None if question.current.spec.engine == question.spec.engine \
            else _estimate(question.spec, self._header(question))
        return Answer(question.current.resolution, None, estimated, again or self._next(question))

    async def _asked(self, question: Question, *, anew: bool) -> Resolved:
        """Asks, unless a failure of just this question is remembered."""
        fingerprint = short_hash({"source": question.spec.source.model_dump(mode="json"), "scope": question.scope,
                                  "requested": question.requested})
        self._raise_known(question.model, fingerprint)
        try:
            resolved = await self._ask(question, anew=anew)
        except PaddockError as error:
            raise self._failed(question, fingerprint, error) from error
        self._failures.pop(question.model, None)
        self._remember(resolved)
        return resolved

    async def _ask(self, question: Question, *, anew: bool) -> Resolved:
        """One question at a time for one source; who asks the same at the same time gets the same answer."""
        source, current = question.spec.source, None if anew else question.current
        pinned = Known(current.resolution, self._header(question)) if current else None
        follow = question.spec.update_policy is UpdatePolicy.FOLLOW
        name = short_hash({"source": source.model_dump(mode="json"), "scope": question.scope, "follow": follow,
                           "pin": current.resolution.model_dump(mode="json") if current else None})
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with lock, self._limit:
                known = self._fresh.get(name)
                if known is not None and self._clock() < known[0] + _FRESH and question.requested is None:
                    return known[1]
                resolved = await self._resolver.resolve(source, pinned=pinned, follow=follow,
                                                        credentials=await question.credentials())
                self._fresh[name] = (self._clock(), resolved)
                while len(self._fresh) > _MOST_KEPT:
                    self._fresh.popitem(last=False)
                return resolved
        finally:
            if not lock.locked():
                self._locks.pop(name, None)

    def _raise_known(self, model: Key, fingerprint: str) -> None:
        failure = self._failures.get(model)
        if failure is None or failure.fingerprint != fingerprint:
            return
        if failure.until is None:
            raise failure.error
        if (left := failure.until - self._clock()) > 0:
            raise PaddockError(failure.error.code, failure.error.message, param=failure.error.param, retry_after=left)

    def _failed(self, question: Question, fingerprint: str, error: PaddockError) -> PaddockError:
        before = self._failures.get(question.model)
        count = before.count + 1 if before is not None and before.fingerprint == fingerprint else 1
        delay = max(error.retry_after or 0.0, self._backoff.delay(count)) if _passing(error) else None
        until = None if delay is None else self._clock() + delay
        failed = PaddockError(error.code, error.message, param=error.param, retry_after=delay)
        self._failures[question.model] = _Failure(fingerprint, failed, count, until)
        return failed

    def _follow_due(self, question: Question) -> bool:
        due = self._due.get(question.model)
        if due is None:  # a new leader does not ask for all Models at once
            due = self._due[question.model] = self._clock() + self._follow * random.random()
        return self._clock() >= due

    def _next(self, question: Question) -> float | None:
        if question.spec.update_policy is not UpdatePolicy.FOLLOW:
            return None
        return max(1.0, self._due.get(question.model, self._clock() + self._follow) - self._clock())

    def _header(self, question: Question) -> GgufHeader | None:
        current = question.current
        return self._headers.get(current.resolution.sha256 or "") if current is not None else None

    def _remember(self, resolved: Resolved) -> None:
        digest = resolved.resolution.sha256
        if digest is not None and resolved.header is not None:
            self._headers[digest] = resolved.header
            while len(self._headers) > _MOST_KEPT:
                self._headers.popitem(last=False)


def _passing(error: PaddockError) -> bool:
    return error.code is Code.SOURCE_UNAVAILABLE or error.retry_after is not None


def _estimate(spec: ModelSpec, header: GgufHeader | None) -> int | None:
    return None if header is None else estimate(header, engine_options(header.facts, spec.engine)).total_bytes
