"""Runtime pods, played: they have an address, speak /state and /events, take up configurations as a kubelet mounts
them, and load what is assigned to them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from paddock_api import cluster_names as names
from paddock_api.events import Event, EventType
from paddock_api.identity import ModelId
from paddock_api.pool import PoolConfig, config_hash
from paddock_api.shards import COUNT, KEY, IncompleteSet, join
from paddock_api.state import Failure, Memory, ModelState, Phase, PodState
from paddock_api.tokens import pool_token
from paddock_operator.cluster.resources import CONFIG_MAPS, PODS
from tests.integration.operator.kit.cluster import Cluster, Object, Refused

ROOT = b"root-token-of-the-tests-with-enough-bytes"
GIB = 1 << 30


class PlayedPod:
    """`obeys`: it takes up configurations, loads what it is assigned. `at_first`: what it says of a Model that is new
    to it. `refused` counts requests without the token."""

    def __init__(self, cluster: Cluster, pool: str, ordinal: int, *, obeys: bool = True,
                 at_first: Phase = Phase.CACHED) -> None:
        self.cluster = cluster
        self.pool = pool
        self.name = names.pod_name(pool, ordinal)
        self.obeys = obeys
        self.at_first = at_first
        self.refused = 0
        self.connections = 0
        self.config: PoolConfig | None = None
        self.history: list[PoolConfig] = []
        self.token = pool_token(ROOT, cluster.namespace, pool)
        self._epoch = f"{self.name}-{time.monotonic_ns()}"
        self._sequence = 0
        self._hash = ""
        self._models: dict[ModelId, ModelState] = {}
        self._streams: set[asyncio.Queue[tuple[str, str] | None]] = set()
        self._runner: web.AppRunner | None = None
        self._mounting: asyncio.Task[None] | None = None

    async def start(self, ready: bool = True) -> None:
        application = web.Application()
        application.add_routes([web.get("/state", self._get_state), web.get("/events", self._get_events)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        with contextlib.suppress(Refused):
            await self.cluster.create(PODS, {
                "metadata": {"name": self.name, "labels": names.pool_labels(self.cluster.namespace, self.pool)},
                "spec": {"automountServiceAccountToken": False, "containers": [
                    {"name": "runtime", "image": "none", "ports": [{"name": "http", "containerPort": port}]}]}})
        await self.report(ready=ready)
        if self.obeys:
            self._mounting = asyncio.create_task(self._mount())

    async def report(self, ready: bool) -> None:
        """As a kubelet does."""
        await self.cluster.merge(PODS, self.name, {"status": {
            "phase": "Running", "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}}, "status")

    async def stop(self, *, leave: bool = False) -> None:
        """`leave`: only the process ends; the Pod object stays."""
        if self._mounting is not None:
            self._mounting.cancel()
            await asyncio.wait({self._mounting})
        self.hang_up()
        if self._runner is not None:
            await self._runner.cleanup()
        if not leave:
            with contextlib.suppress(Refused):
                await self.cluster.delete(PODS, self.name)

    def hang_up(self) -> None:
        """Ends all streams."""
        for stream in self._streams:
            stream.put_nowait(None)

    @property
    def streams(self) -> int:
        return len(self._streams)

    def skip(self, count: int) -> None:
        """Events that no reader gets: a gap."""
        self._sequence += count

    def phase(self, model: str, to: Phase, *, revision: str | None = None, reason: str | None = None,
              message: str | None = None, silently: bool = False, **more: Any) -> None:
        """The Model moves; `silently` no event tells of it."""
        key = ModelId.parse(model)
        before = self._models.get(key)
        desired = self.config.models[model].desired.id if self.config and model in self.config.models else "none"
        failure = None if to is not Phase.FAILED or reason is None else Failure(
            reason=reason, message=message or reason, at=time.time())
        self._models[key] = ModelState(namespace=key.namespace, name=key.name, revision=revision or desired, phase=to,
                                       failure=failure, **more)
        data = {"from": before.phase.value if before else "Absent", "to": to.value}
        data |= {name: text for name, text in (("reason", reason), ("message", message)) if text}
        if not silently:
            self.emit(EventType.PHASE, model=model, revision=self._models[key].revision, data=data)

    def emit(self, kind: EventType, *, model: str | None = None, revision: str | None = None,
             data: dict[str, Any] | None = None) -> None:
        self._sequence += 1
        event = Event(epoch=self._epoch, sequence=self._sequence, time=time.time(), type=kind, model=model,
                      revision=revision, data=data or {})
        for stream in self._streams:
            stream.put_nowait(("change", event.model_dump_json()))

    def take(self, config: PoolConfig) -> None:
        """The configuration is in force: assigned Models are loaded, as fast as that goes."""
        self.config = config
        self.history.append(config)
        self._hash = config_hash(config)
        self.emit(EventType.CONFIG, data={"generation": config.generation, "hash": self._hash})
        for key in [key for key in self._models if str(key) not in config.models]:
            del self._models[key]
        for name, entry in config.models.items():
            state = self._models.get(ModelId.parse(name))
            if self.name in entry.assigned and (state is None or state.phase is not Phase.READY
                                                or state.revision != entry.desired.id):
                self.phase(name, Phase.LOADING)
                self.phase(name, Phase.READY, measured_bytes=100 << 20)
            elif state is None:
                self.phase(name, self.at_first, silently=self.at_first is Phase.ABSENT)

    def state(self) -> PodState:
        charged = sum(model.phase is Phase.READY for model in self._models.values()) * (100 << 20)
        return PodState(
            pod=self.name, epoch=self._epoch, sequence=self._sequence, version="played",
            config_generation=self.config.generation if self.config else 0, config_hash=self._hash,
            memory=Memory(budget_bytes=2 * GIB, charged_bytes=charged, measured_bytes=charged),
            models=list(self._models.values()), engines=[])

    async def _mount(self) -> None:
        """Looks at the ConfigMaps all the time, as one that kubelet refreshes them for."""
        while True:
            with contextlib.suppress(Refused, IncompleteSet, OSError):
                found = join(await mounted(self.cluster, self.pool))
                if self.config is None or found.generation > self.config.generation:
                    self.take(found)
            await asyncio.sleep(0.1)

    def _knows(self, request: web.Request) -> bool:
        good = request.headers.get("Authorization") == f"Bearer {self.token}"
        self.refused += not good
        return good

    async def _get_state(self, request: web.Request) -> web.Response:
        if not self._knows(request):
            return web.Response(status=401)
        return web.Response(text=self.state().model_dump_json(), content_type="application/json")

    async def _get_events(self, request: web.Request) -> web.StreamResponse:
        if not self._knows(request):
            return web.Response(status=401)
        self.connections += 1
        stream: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
        self._streams.add(stream)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            await response.write(_sse("snapshot", self.state().model_dump_json()))
            while (message := await stream.get()) is not None:
                await response.write(_sse(*message))
        finally:
            self._streams.discard(stream)
        return response


async def mounted(cluster: Cluster, pool: str) -> dict[int, bytes]:
    """The pool's shards as a kubelet would mount them."""
    wanted = {names.config_map(pool, index): index for index in range(COUNT)}
    selector = {"labelSelector": f"{names.LABEL_POOL}={pool}"}
    return {wanted[each["metadata"]["name"]]: base64.b64decode(each["binaryData"][KEY])
            for each in await cluster.list(CONFIG_MAPS, cluster.namespace, **selector)
            if each["metadata"]["name"] in wanted}


@contextlib.asynccontextmanager
async def playing(cluster: Cluster, pool: str, count: int, *, obeys: bool = True, at_first: Phase = Phase.CACHED
                  ) -> AsyncIterator[list[PlayedPod]]:
    pods = [PlayedPod(cluster, pool, ordinal, obeys=obeys, at_first=at_first) for ordinal in range(count)]
    try:
        for pod in pods:
            await pod.start()
        yield pods
    finally:
        for pod in pods:
            await pod.stop()


def shard_content(found: Object) -> Any:
    """What a shard's ConfigMap says, without the number of its generation."""
    import gzip
    content = json.loads(gzip.decompress(base64.b64decode(found["binaryData"][KEY])))
    return {key: value for key, value in content.items() if key != "generation"}


def _sse(event: str, data: str) -> bytes:
    return f"event: {event}\ndata: {data}\n\n".encode()
