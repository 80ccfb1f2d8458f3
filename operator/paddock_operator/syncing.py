"""Whole lists, beside the watches: at the start, every so often, and whenever something may have been missed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence

from paddock_operator.clock import Clock, monotonic
from paddock_operator.cluster.client import ApiServer
from paddock_operator.cluster.errors import ApiError
from paddock_operator.cluster.reader import Reader
from paddock_operator.cluster.resources import MODELS, POOLS, Resource
from paddock_operator.queue import Backoff
from paddock_operator.world import Kind, World

_LOOK = 1.0
_log = logging.getLogger(__name__)


class Syncer:
    """`every`: seconds between two rounds of lists. `listed(periodic)` is called after each round."""

    def __init__(self, api: ApiServer, reader: Reader, world: World, kinds: Sequence[Kind], *, every: float,
                 listed: Callable[[bool], None], clock: Clock = monotonic) -> None:
        self._api = api
        self._reader = reader
        self._world = world
        self._kinds = kinds
        self._every = every
        self._listed = listed
        self._clock = clock
        self._wanted: set[Resource] = set()
        self._recoveries = 0

    def want(self, resources: Iterable[Resource] | None = None) -> None:
        """These kinds (None: all) are listed soon: their watch may have missed something."""
        self._wanted.update(resources if resources is not None else (kind.resource for kind in self._kinds))

    async def first(self) -> None:
        """Returns when every kind was listed. Waits for the API server, and for the CustomResourceDefinitions."""
        await self._until_served()
        self.want()
        while self._wanted:
            await self._round(periodic=False)

    async def run(self) -> None:
        """After `first`, until cancelled."""
        due = self._clock() + self._every * random.uniform(0.8, 1.2)
        while True:
            await asyncio.sleep(_LOOK)
            if self._api.recoveries != self._recoveries:
                self._recoveries = self._api.recoveries
                self.want()  # a watch that stood still may have missed what happened
            if periodic := self._clock() >= due and not self._wanted:
                due = self._clock() + self._every * random.uniform(0.8, 1.2)
                self.want()
            if self._wanted:
                await self._round(periodic)

    async def _until_served(self) -> None:
        backoff, failures = Backoff(base=0.5, most=10.0), 0
        for resource in (MODELS, POOLS):
            while True:
                try:
                    if await self._reader.serves(resource):
                        break
                    _log.warning("the API server does not know %s.%s yet; apply the CustomResourceDefinitions",
                                 resource.plural, resource.group)
                except ApiError as error:
                    _log.warning("the API server does not answer: %s", error)
                failures += 1
                await asyncio.sleep(backoff.delay(failures))

    async def _round(self, periodic: bool) -> None:
        """Lists what is wanted. What fails stays wanted."""
        for kind in self._kinds:
            if kind.resource not in self._wanted:
                continue
            try:
                listing = await self._reader.list(kind.resource, labels=kind.selector)
            except ApiError as error:
                _log.warning("%s can't be listed: %s", kind.resource.plural, error)
                await asyncio.sleep(Backoff(base=1.0, most=5.0).delay(2))
                return
            missed = self._world.store(kind.resource).replace(listing.items, listing.resource_version)
            if missed:
                _log.info("%d deleted %s were noticed by their list", missed, kind.resource.plural)
            self._wanted.discard(kind.resource)
        self._listed(periodic)
