"""The operator put together: watches and lists feed the world, one process at a time works on it."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Collection

from paddock_api import cluster_names as names
from paddock_api.identity import ModelId
from paddock_operator.clock import monotonic
from paddock_operator.cluster import failpoints
from paddock_operator.cluster.client import ApiServer
from paddock_operator.cluster.errors import ApiError
from paddock_operator.cluster.lease import LeaseObject
from paddock_operator.cluster.reader import Reader
from paddock_operator.cluster.resources import Object, Resource
from paddock_operator.cluster.sender import Sender
from paddock_operator.cluster.writer import Writer
from paddock_operator.election import Leadership, NotLeader
from paddock_operator.elector import Elector
from paddock_operator.metrics import Metrics
from paddock_operator.model.reconcile import ModelReconciler
from paddock_operator.model.sources import Resolver, Sources
from paddock_operator.objects.pod import PodSettings
from paddock_operator.pods.follow import PodRef
from paddock_operator.pods.following import Following
from paddock_operator.pods.reports import Reports
from paddock_operator.pool.reconcile import PoolReconciler
from paddock_operator.published import Published
from paddock_operator.queue import KeyedQueue
from paddock_operator.secrets import Credentials, Tokens
from paddock_operator.settings import Settings
from paddock_operator.store import Key
from paddock_operator.surroundings import Surroundings
from paddock_operator.syncing import Syncer
from paddock_operator.triggers import Triggers
from paddock_operator.watching import watch
from paddock_operator.world import KINDS, World

_PASS_WITHIN = 120.0
_STUCK_AFTER = _PASS_WITHIN + 60.0
_POOL_WORKERS = 4
_SPREAD = 60.0
# A Model that takes longer waits for a hub or a server, and nobody waits for it.
_LATELY = 1.0
_log = logging.getLogger(__name__)


class Operator:
    """One process. `run` ends only by cancellation, or by an error that a restart may mend."""

    def __init__(self, settings: Settings, api: ApiServer, resolver: Resolver, metrics: Metrics) -> None:
        self._settings = settings
        self._api = api
        self._resolver = resolver
        self._metrics = metrics
        self._reader = Reader(api)
        self._identity = f"{settings.identity}_{uuid.uuid4()}"
        self.leadership = Leadership(settings.timing, monotonic)
        sender = Sender(api, failpoints.from_environment(os.environ), metrics.wrote)
        self.world = World(default_pool=settings.pool, operator_namespace=settings.namespace)
        self._writer = Writer(sender, self.leadership, self.world)
        self._lease = LeaseObject(self._reader, sender, settings.namespace, names.LEASE)
        self._tokens = Tokens(settings.root_token_file)
        self._reports = Reports(self._reported)
        self._models = self._queue("models", self._pass_model, settings.workers)
        self._pools = self._queue("pools", self._pass_pool, _POOL_WORKERS)
        self._following = Following(self._pods, self._tokens.of, self._reports)
        self._triggers = Triggers(self.world, self._models, self._pools, self._following.changed)
        self._triggers.connect()
        self._syncer = Syncer(api, self._reader, self.world, KINDS, every=settings.resync, listed=self._listed)
        self._synced = asyncio.Event()
        self._model_passes: ModelReconciler | None = None
        self._pool_passes: PoolReconciler | None = None
        self._measure()

    async def run(self, take_signals: Callable[[], None]) -> None:
        """`take_signals` is called whenever somebody else has taken them."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_cluster(take_signals), name="cluster")
            group.create_task(self._lead_when_synced(), name="leader")

    def alive(self) -> str | None:
        """What is wrong; that this answers at all proves the event loop."""
        longest = max(self._models.longest_run(), self._pools.longest_run())
        return f"a pass has taken {longest:.0f} s" if longest > _STUCK_AFTER else None

    def ready(self) -> str | None:
        """A process that waits to lead is ready when it knows the cluster."""
        return None if self.world.synced else "the cluster's objects are not listed yet"

    async def _follow_cluster(self, take_signals: Callable[[], None]) -> None:
        await self._syncer.first()
        self._synced.set()
        _log.info("the cluster's objects are known")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._syncer.run(), name="lists")
            group.create_task(watch(KINDS, self._heard, self._api.connection, idle=self._settings.watch_idle,
                                    started=take_signals, restarted=self._syncer.want), name="watches")

    async def _lead_when_synced(self) -> None:
        await self._synced.wait()
        elector = Elector(self._lease, self._identity, self._settings.timing, self.leadership)
        await elector.run(self._lead)

    async def _lead(self) -> None:
        """One term: nothing is remembered of the one before."""
        around = Surroundings(world=self.world, writer=self._writer, reports=self._reports, published=Published(),
                              instance=self._settings.identity, burst=lambda: self._models.busy(_LATELY))
        settings = self._settings
        pods = PodSettings(image=settings.runtime_image, hub_endpoint=settings.hub_endpoint,
                           allowed_hosts=settings.allowed_hosts)
        self._model_passes = ModelReconciler(around, Sources(self._resolver, follow=settings.follow),
                                             Credentials(self._reader).of)
        self._pool_passes = PoolReconciler(around, pods, self._tokens.of, self._triggers.wake)
        self._triggers.everything()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._following.run(), name="following")
            group.create_task(self._models.run(), name="models")
            group.create_task(self._pools.run(), name="pools")

    def _heard(self, resource: Resource, kind: str | None, document: Object) -> None:
        store = self.world.store(resource)
        if kind == "DELETED":
            store.gone(document)
            return
        store.learn({"apiVersion": resource.api_version, "kind": resource.kind, **document})
        if kind is None:
            self._syncer.want([resource])  # kopf has listed anew: what was deleted before that it does not tell

    def _listed(self, periodic: bool) -> None:
        if self.leadership.holds:
            self._triggers.everything(_SPREAD if periodic else 0.0)

    def _reported(self, pod: PodRef, models: Collection[ModelId] | None, pod_changed: bool) -> None:
        self._triggers.reported(pod, models, pod_changed)

    async def _pass_model(self, key: Key) -> float | None:
        assert self._model_passes is not None
        return await self._model_passes(key)

    async def _pass_pool(self, key: Key) -> float | None:
        assert self._pool_passes is not None
        return await self._pool_passes(key)

    def _pods(self) -> list[tuple[Key, Object]]:
        return [(pool, pod) for pool in self.world.pools.keys()  # noqa: SIM118 - a Store is no dict
                for pod in self.world.pods.by("pool", pool)]

    def _queue(self, name: str, work: Callable[[Key], Awaitable[float | None]], workers: int) -> KeyedQueue[Key]:
        return KeyedQueue(work, workers=workers, within=_PASS_WITHIN, observer=self._metrics.queue(name),
                          expected=_expected)

    def _measure(self) -> None:
        self._metrics.leads(lambda: float(self.leadership.holds))
        self._metrics.queues({"models": self._models, "pools": self._pools})
        self._metrics.objects({kind.resource.plural: self.world.store(kind.resource) for kind in KINDS})


def _expected(error: BaseException) -> bool:
    """What a cluster does; anything else is a fault of the operator, and logged with its trace."""
    return isinstance(error, ApiError | NotLeader | TimeoutError)
