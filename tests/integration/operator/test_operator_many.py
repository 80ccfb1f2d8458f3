"""Many Models at once: what they cost is counted, never timed (`make bench-operator` measures the rest)."""

from __future__ import annotations

import asyncio
from collections import Counter

from paddock_api.state import Phase
from paddock_operator.cluster.resources import MODELS, POOLS
from tests.integration.operator.conftest import Start
from tests.integration.operator.kit.cluster import Cluster, model_document, pool_document, until
from tests.integration.operator.kit.pods import playing
from tests.integration.operator.test_operator_leadership import ready

MODELS_AT_ONCE = 40
MOST_WRITES = 4
SHARDS = 16


async def test_many_models_at_once_cost_four_writes_each_at_most(cluster: Cluster, start: Start) -> None:
    _, between = await start()
    await cluster.create(POOLS, pool_document())
    async with playing(cluster, "default", 1, at_first=Phase.ABSENT) as (pod,):

        async def in_sync() -> bool:
            found = await cluster.get(POOLS, "default")
            return bool(((found or {}).get("status") or {}).get("podsInSync") == 1)

        async def counted() -> bool:
            found = await cluster.get(POOLS, "default")
            return bool(((found or {}).get("status") or {}).get("models", {}).get("ready") == MODELS_AT_ONCE)

        await until(in_sync)
        await asyncio.sleep(2.0)
        before = between.counted()
        await asyncio.gather(*(cluster.create(MODELS, model_document(f"gemma-{number}"))
                               for number in range(MODELS_AT_ONCE)))
        await until(lambda: ready(cluster, MODELS_AT_ONCE))
        await until(lambda: pod.config is not None and len(pod.config.models) == MODELS_AT_ONCE)
        await until(counted)
        await until(in_sync)
        await asyncio.sleep(3.0)
        written = between.counted() - before
        shown = {f"{method} {kind}": count for (method, kind), count in written.items()}
        # What a Model needs itself: its revision, the event that tells of it, its status.
        own = Counter({("POST", "events"): MODELS_AT_ONCE, ("PATCH", "models/status"): MODELS_AT_ONCE})
        assert {key: written[key] for key in own} == own, shown
        # The rest is the pool's, shared by all of a burst.
        assert written.total() <= MOST_WRITES * MODELS_AT_ONCE, shown
        shards = written[("PATCH", "configmaps")] - MODELS_AT_ONCE
        assert shards % SHARDS == 0, shown
        assert shards <= SHARDS, f"one burst is one configuration: {shown}"
        settled = len(between.writes)
        await asyncio.sleep(4.0)
        assert len(between.writes) == settled, "and nothing is written when nothing happens"
