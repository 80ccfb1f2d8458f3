"""Follows all running pods of all pools, as long as this process leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import aiohttp

from paddock_api.cluster_names import PORT, PORT_NAME
from paddock_operator.cluster.resources import Object
from paddock_operator.pods.follow import Follower, Pace, PodRef
from paddock_operator.pods.reports import Reports
from paddock_operator.pods.shared import Shared
from paddock_operator.pods.thrift import Thrift
from paddock_operator.pool.view import ordinal_of
from paddock_operator.store import Key


class Following:
    """`pods()` lists what the operator knows of pods, `token(pool)` is the pool's own."""

    def __init__(self, pods: Callable[[], Iterable[tuple[Key, Object]]], token: Callable[[Key], str], reports: Reports,
                 pace: Pace | None = None) -> None:
        self._pods = pods
        self._token = token
        self._reports = reports
        self._pace = pace
        self._thrift = Thrift()
        self._shared = Shared()
        self._changed = asyncio.Event()
        self._tasks: dict[PodRef, asyncio.Task[None]] = {}

    def changed(self) -> None:
        """A pod came, went or moved."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._reports.clear()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=False) as session:
            try:
                while True:
                    self._changed.clear()
                    self._adjust(session)
                    await self._changed.wait()
            finally:
                for task in self._tasks.values():
                    task.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks.values())
                self._tasks.clear()
                self._reports.clear()

    def _adjust(self, session: aiohttp.ClientSession) -> None:
        wanted = {ref for pool, pod in self._pods() if (ref := reference(pool, pod)) is not None}
        for ref in self._tasks.keys() - wanted:
            self._tasks.pop(ref).cancel()
            self._reports.forget(ref)
        for ref in sorted(wanted - self._tasks.keys()):
            self._reports.expect(ref)
            follower = Follower(session, ref, partial(self._token, ref.pool), self._reports, self._thrift,
                                self._shared, self._pace)
            self._tasks[ref] = asyncio.create_task(follower.run(), name=f"follow {ref.name}")


def reference(pool: Key, pod: Object) -> PodRef | None:
    """Where the pod listens; None while it does not, and for one that only carries the labels."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    address = status.get("podIP")
    if not address or status.get("phase") != "Running" or ordinal_of(pool.name, pod) is None:
        return None
    host = f"[{address}]" if ":" in address else address
    return PodRef(pool, metadata["name"], metadata["uid"], f"http://{host}:{_port(pod)}")


def _port(pod: Object) -> int:
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == PORT_NAME:
                return int(port["containerPort"])
    return PORT
