"""A RuntimePool that shrinks, with played pods."""

from __future__ import annotations

import asyncio

from paddock_api import cluster_names as names
from paddock_api.identity import ModelId
from paddock_api.rendezvous import order
from paddock_api.shards import join
from paddock_operator.cluster.resources import MODELS, POOLS, STATEFUL_SETS
from tests.integration.operator.conftest import SYSTEM, Start
from tests.integration.operator.kit.cluster import Cluster, model_document, pool_document, until
from tests.integration.operator.kit.pods import PlayedPod, mounted


async def replicas(cluster: Cluster) -> int | None:
    found = await cluster.get(STATEFUL_SETS, names.runtime_name("default"))
    return None if found is None else int(found["spec"]["replicas"])


async def progress(cluster: Cluster) -> tuple[str, str]:
    status = ((await cluster.get(POOLS, "default")) or {}).get("status") or {}
    return next(((each["reason"], each["message"]) for each in status.get("conditions", ())
                 if each["type"] == "Progressing"), ("", ""))


async def test_the_highest_pod_goes_when_what_it_keeps_loaded_is_loaded_elsewhere(
    cluster: Cluster, start: Start
) -> None:
    pods = names.pod_names("default", 2)
    name = next(name for name in map("gemma-{}".format, range(20)) if order(ModelId(SYSTEM, name), pods)[0] == pods[1])
    _, between = await start()
    await cluster.create(POOLS, pool_document(replicas=2))
    low, high = PlayedPod(cluster, "default", 0, obeys=False), PlayedPod(cluster, "default", 1)
    await low.start()
    await high.start()
    try:
        await cluster.create(MODELS, model_document(name, loading={"policy": "Pinned"}))
        wanted = f"{SYSTEM}/{name}"
        await until(lambda: high.config and wanted in high.config.models)
        assert high.config is not None
        assert high.config.models[wanted].assigned == [pods[1]]
        low.take(high.config)
        await until(lambda: replicas(cluster))

        await cluster.merge(POOLS, "default", {"spec": {"replicas": 1}})
        await until(lambda: high.config and high.config.models[wanted].assigned == [pods[0]])

        async def waits() -> bool:
            return (await progress(cluster))[0] == "ScalingDown"

        await until(waits)
        await asyncio.sleep(6.0)  # it looks again meanwhile
        assert await replicas(cluster) == 2, "the low pod has not loaded it yet"
        assert "is loaded elsewhere" in (await progress(cluster))[1]

        low.take(join(await mounted(cluster, "default")))

        async def shrunk() -> bool:
            return await replicas(cluster) == 1

        await until(shrunk)
        steps = [each.body["spec"]["replicas"] for each in between.writes if each.kind == "statefulsets"]
        assert steps == [2, 1]
    finally:
        await high.stop()
        await low.stop()
