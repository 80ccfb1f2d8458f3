"""The runtime pods, played in this process: they take up what the operator configures, and load nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from paddock_api.shards import IncompleteSet, join
from paddock_api.state import Phase
from tests.integration.operator.kit.cluster import Cluster
from tests.integration.operator.kit.pods import PlayedPod, mounted

# A kubelet is no quicker.
_EVERY = 1.0


class Fleet:
    """All pods of one pool; one look at the ConfigMaps serves all."""

    def __init__(self, cluster: Cluster, pool: str, count: int) -> None:
        self._cluster = cluster
        self._pool = pool
        self.pods = [PlayedPod(cluster, pool, ordinal, obeys=False, at_first=Phase.ABSENT) for ordinal in range(count)]
        self.configurations = 0

    def configured(self) -> int:
        """Models that every pod knows of."""
        return min((len(pod.config.models) if pod.config is not None else 0 for pod in self.pods), default=0)

    async def mount(self) -> None:
        seen: dict[int, bytes] = {}
        while True:
            found = await mounted(self._cluster, self._pool)
            if found != seen:
                seen = found
                with contextlib.suppress(IncompleteSet):  # in the middle of being written
                    config = join(found)
                    self.configurations += 1
                    for pod in self.pods:
                        pod.take(config)
            await asyncio.sleep(_EVERY)


@contextlib.asynccontextmanager
async def fleet(cluster: Cluster, pool: str, count: int) -> AsyncIterator[Fleet]:
    made = Fleet(cluster, pool, count)
    mounting = asyncio.create_task(made.mount())
    try:
        for pod in made.pods:
            await pod.start()
        yield made
    finally:
        mounting.cancel()
        await asyncio.wait({mounting})
        for pod in made.pods:
            await pod.stop()
