"""The API server away, silent or forgetful: nothing is deleted, nothing is doubled, and all settles after."""

from __future__ import annotations

import asyncio

import pytest

from paddock_operator.cluster.resources import MODELS, POOLS, SERVICES
from tests.integration.operator.conftest import Start
from tests.integration.operator.kit.cluster import Cluster, conditions, model_document, pool_document, until
from tests.integration.operator.test_operator_leadership import leads, ready


@pytest.mark.parametrize("seconds", [12, pytest.param(300, marks=pytest.mark.nightly)])
async def test_an_api_server_that_goes_away_and_comes_back(cluster: Cluster, start: Start, seconds: int) -> None:
    """Fault 8."""
    process, between = await start()
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma-0"))
    await until(lambda: ready(cluster, 1))
    await asyncio.sleep(2.0)
    before = await cluster.objects()
    await asyncio.to_thread(cluster.server.stop)
    await asyncio.sleep(seconds)
    assert process.running
    assert (await process.get("/livez"))[0] == 200
    cluster.server.start()  # in this thread: what a thread has started ends with it
    began = asyncio.get_running_loop().time()
    await cluster.create(MODELS, model_document("gemma-1"))
    await until(lambda: ready(cluster, 2))
    assert asyncio.get_running_loop().time() - began < 60
    after = await cluster.objects()
    for name, found in before.items():
        if name.startswith(("Secret/", "Service/", "StatefulSet/", "PodDisruptionBudget/", "Model/")):
            assert after[name] == found
    assert [each for each in between.writes if each.method == "DELETE"] == []
    assert leads(process)


async def test_a_watch_that_went_silent_is_noticed(cluster: Cluster, start: Start) -> None:
    """Connections stay open and nothing comes: when the server answers again, what happened meanwhile is seen."""
    _, between = await start()
    await cluster.create(POOLS, pool_document())
    for number in range(3):
        await cluster.create(MODELS, model_document(f"gemma-{number}"))
    await until(lambda: ready(cluster, 3))
    between.stalled.clear()
    await cluster.delete(MODELS, "gemma-0")
    await cluster.create(MODELS, model_document("gemma-3"))
    await asyncio.sleep(8.0)
    assert not await ready(cluster, 3), "nobody could tell of the new one"
    between.stalled.set()
    await until(lambda: ready(cluster, 3))

    async def counted() -> bool:
        found = await cluster.get(POOLS, "default")
        return bool(((found or {}).get("status") or {}).get("models", {}).get("total") == 3)

    await until(counted)


async def test_deletions_that_an_expired_watch_never_told_of_are_noticed(cluster: Cluster, start: Start) -> None:
    process, between = await start()
    await cluster.create(POOLS, pool_document())
    for number in range(5):
        await cluster.create(MODELS, model_document(f"gemma-{number}"))
    await until(lambda: ready(cluster, 5))

    async def made() -> bool:
        return between.counted()[("PATCH", "statefulsets")] > 0

    await until(made)
    before = between.counted()
    between.expired = True  # 410 Gone for every watch, so that kopf lists anew
    between.drop_streams()
    for number in range(3):
        await cluster.delete(MODELS, f"gemma-{number}")
    await cluster.create(MODELS, model_document("gemma-9"))
    await asyncio.sleep(2.0)
    between.expired = False

    async def counted() -> bool:
        found = await cluster.get(POOLS, "default")
        return bool(((found or {}).get("status") or {}).get("models", {}).get("total") == 3)

    await until(counted)
    await until(lambda: ready(cluster, 3))
    assert between.counted()[("PATCH", "statefulsets")] == before[("PATCH", "statefulsets")]  # nothing made twice
    assert process.running


async def test_what_somebody_breaks_is_mended(cluster: Cluster, start: Start) -> None:
    await start()
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma"))
    await until(lambda: ready(cluster, 1))
    await until(lambda: cluster.get(SERVICES, "default-runtime"))
    await cluster.delete(SERVICES, "default-runtime")
    await until(lambda: cluster.get(SERVICES, "default-runtime"))
    await cluster.merge(SERVICES, "default-runtime", {"spec": {"selector": {"paddock.dev/pool": "evil"}}})

    async def mended() -> bool:
        found = await cluster.get(SERVICES, "default-runtime")
        return bool(found and found["spec"]["selector"]["paddock.dev/pool"] == "default")

    await until(mended)
    assert conditions(await cluster.get(MODELS, "gemma"))["Ready"] == ("True", "Servable")
