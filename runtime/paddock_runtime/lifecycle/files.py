"""Files for targets: Absent → Fetching → Cached, or a failure. One flight a target."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from paddock_api.errors import Code, PaddockError
from paddock_api.revision import Revision
from paddock_api.source import Source
from paddock_runtime.lifecycle.resolved import check_resolved, digests, facts_of, never_fits
from paddock_runtime.lifecycle.signature import signature_of
from paddock_runtime.lifecycle.targets import Prepared, Target, prepared
from paddock_runtime.store import Artifact

_log = logging.getLogger(__name__)


class Store(Protocol):
    """What the lifecycle asks of the file store."""

    def present(self, source: Source, files: Sequence[str] = (), sha256s: Sequence[str] = ()) -> Artifact | None: ...

    async def ensure(self, source: Source, *, files: Sequence[str] = (), sha256s: Sequence[str] = (),
                     size: int | None = None, progress: Callable[[float | None], None]) -> Artifact: ...

    def verify(self, artifact: Artifact) -> None: ...


class Files(Protocol):
    """Who hears of it, on the event loop."""

    def fetch_changed(self, target: Target) -> None: ...

    def fetch_failed(self, target: Target, error: PaddockError) -> None: ...


Check = Callable[[Revision], Awaitable[None]]


async def no_check(revision: Revision) -> None:
    """For who has nothing else to say about a revision."""


class Fetcher:
    """What somebody waits for starts at once; the rest, `concurrent` at a time. What is here already stands in a line
    of its own, or it would wait for others' downloads.

    `check` raises PaddockError for what is wrong with a revision beside its files. What needs more than `memory_bytes`
    is not even fetched."""

    def __init__(self, owner: Files, store: Store, *, concurrent: int, memory_bytes: int, check: Check) -> None:
        self._owner, self._store, self._memory_bytes, self._check = owner, store, memory_bytes, check
        self._background, self._looks = asyncio.Semaphore(concurrent), asyncio.Semaphore(concurrent)
        self._flights: dict[Target, asyncio.Task[object]] = {}

    def start(self, target: Target, *, urgent: bool) -> None:
        """Begins, unless it is under way. An urgent call does not wait in the line of the others."""
        flight = self._flights.get(target)
        if flight is not None:
            if not urgent or target.fetching:
                return
            flight.cancel()
        self._begin(target, self._fetch(target) if urgent else self._in_turn(target))

    def look(self, target: Target) -> None:
        """Prepares what is here already; fetches nothing."""
        if target not in self._flights:
            self._begin(target, self._take_what_is_here(target))

    def stop(self, target: Target) -> None:
        """Nobody wants it any more."""
        if flight := self._flights.pop(target, None):
            flight.cancel()

    async def close(self) -> None:
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _begin(self, target: Target, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work, name=f"fetch {target.model}")
        self._flights[target] = task
        task.add_done_callback(lambda done: self._done(target, done))

    def _done(self, target: Target, task: asyncio.Task[object]) -> None:
        if self._flights.get(target) is task:
            del self._flights[target]

    async def _in_turn(self, target: Target) -> None:
        if await self._take_what_is_here(target):
            return
        async with self._background:
            await self._fetch(target)

    async def _take_what_is_here(self, target: Target) -> bool:
        """Whether it was here."""
        async with self._looks:
            source, resolution = target.revision.spec.source, target.revision.resolution
            found = await asyncio.to_thread(self._store.present, source, resolution.files, digests(target.revision))
            if found is not None:
                await self._fetch(target)
            return found is not None

    async def _fetch(self, target: Target) -> None:
        target.fetching, target.progress = True, None
        target.signature = await asyncio.to_thread(signature_of, target)
        self._owner.fetch_changed(target)
        result: Prepared | PaddockError | None = None
        try:
            result = await self._prepare(target)
        except PaddockError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - a file may hold anything
            _log.exception("a Model's files could not be prepared", extra={"model": str(target.model)})
            result = PaddockError(Code.LOAD_FAILED, f"its files could not be prepared: {type(error).__name__}; "
                                  "the log says more")
        finally:
            target.fetching, target.progress = False, None
            if result is None:  # cancelled
                self._owner.fetch_changed(target)
        if isinstance(result, PaddockError):
            self._owner.fetch_failed(target, result)
            return
        target.prepared = result
        self._owner.fetch_changed(target)

    async def _prepare(self, target: Target) -> Prepared:
        def report(fraction: float | None) -> None:
            target.progress = fraction
            self._owner.fetch_changed(target)

        revision = target.revision
        await self._check(revision)
        if (error := never_fits(revision, self._memory_bytes)) is not None:
            raise error
        here = revision.spec.source.file is not None
        weights = await self._store.ensure(
            revision.spec.source, files=revision.resolution.files, sha256s=digests(revision),
            size=None if here else revision.resolution.size, progress=report)
        target.facts = facts_of(weights)
        if here:
            check_resolved(revision, weights)
        adapters = [await self._store.ensure(adapter.source, progress=report)
                    for adapter in revision.spec.engine.adapters]
        result, examined = await asyncio.to_thread(
            prepared, target.model, revision, target.engine_type, [weights, *adapters])
        target.facts = facts_of(weights, examined)
        return result
