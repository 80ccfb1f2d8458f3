"""The watches, by kopf: its handlers only pass on what came. No peering, no finalizer, nothing written by it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import kopf

from paddock_operator.cluster.account import Connection
from paddock_operator.cluster.resources import Object, Resource
from paddock_operator.queue import Backoff
from paddock_operator.world import Kind

# What came, of which kind: ADDED, MODIFIED, DELETED, or None for an object that kopf has just listed.
Heard = Callable[[Resource, str | None, Object], None]

_PREFIX = "paddock.dev"
_log = logging.getLogger(__name__)


class _Forever:
    """Pauses between tries of one request. They never end: an outage is survived, however long it is."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1.0, 2.0)
        while True:
            yield 3.0


class _NoDiffs(kopf.DiffBaseStorage):
    """Nobody asks kopf what changed, and to know it would copy each object twice."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


def settings(kinds: Sequence[Kind], idle: float) -> kopf.OperatorSettings:
    """As measured to be cheap. `idle`: seconds after which a silent watch is begun anew."""
    found = kopf.OperatorSettings()
    found.process.ultimate_exiting_timeout = None
    found.posting.enabled = False
    found.posting.level = logging.WARNING
    found.peering.standalone = True
    found.scanning.disabled = True
    found.queueing.worker_limit = None
    found.queueing.idle_timeout = 0.5
    found.watching.server_timeout = 300
    found.watching.connect_timeout = 10
    found.watching.inactivity_timeout = idle
    found.watching.chunk_size = 500
    found.networking.request_timeout = 30
    found.networking.error_backoffs = _Forever()
    found.persistence.finalizer = f"{_PREFIX}/unused"
    found.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=_PREFIX)
    found.persistence.diffbase_storage = _NoDiffs()
    for kind in kinds:
        if kind.selector is not None:
            resource = kind.resource
            found.watching.label_selectors[resource.group, resource.version, resource.plural] = kind.selector
    return found


def registry(kinds: Sequence[Kind], heard: Heard, connection: Callable[[], Awaitable[Connection]]
             ) -> kopf.OperatorRegistry:
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await connection()
        return kopf.ConnectionInfo(
            server=found.server, ca_path=found.ca_path, insecure=found.insecure, token=found.token,
            certificate_path=found.certificate_path, private_key_path=found.key_path)

    for kind in kinds:
        _listen(made, kind.resource, heard)
    return made


def _listen(made: kopf.OperatorRegistry, resource: Resource, heard: Heard) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, id=resource.plural, registry=made)
    async def event(event: Any, **_: Any) -> None:
        heard(resource, event["type"], dict(event["object"]))


async def watch(kinds: Sequence[Kind], heard: Heard, connection: Callable[[], Awaitable[Connection]], *, idle: float,
                started: Callable[[], None], restarted: Callable[[], None]) -> None:
    """Runs until cancelled. `idle`: seconds that a watch may be silent. When kopf gives up (it does on some answers of
    the API server) it is started anew, and `restarted` asks for whole lists, since deletions may have been missed.
    `started` is called after each start: kopf takes the signals for itself."""
    backoff, failures = Backoff(base=0.5, most=10.0), 0
    while True:
        began = asyncio.get_running_loop().time()
        tasks = await kopf.spawn_tasks(registry=registry(kinds, heard, connection), settings=settings(kinds, idle),
                                       clusterwide=True, standalone=True)
        started()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                _log.warning("the watches ended, they are started anew: %s",
                             "cancelled" if task.cancelled() else task.exception() or task.get_name())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        failures = 1 if asyncio.get_running_loop().time() > began + 60 else failures + 1
        await asyncio.sleep(backoff.delay(failures))
        restarted()
