"""Two replicas, one leader: whoever was frozen or cut off writes nothing any more."""

from __future__ import annotations

import asyncio

from paddock_operator.cluster.resources import LEASES, MODELS, POOLS
from tests.integration.operator.conftest import SYSTEM, Start
from tests.integration.operator.kit.cluster import Cluster, conditions, model_document, pool_document, until
from tests.integration.operator.kit.process import OperatorProcess
from tests.integration.operator.kit.proxy import WRITES, Proxy

Replica = tuple[OperatorProcess, Proxy]


def leads(process: OperatorProcess) -> bool:
    """By its last word on it."""
    words = [line["message"] for line in process.logs() if "lead" in line["message"]]
    return bool(words) and words[-1] == "this process leads"


async def pair(start: Start) -> tuple[Replica, Replica]:
    """The one that leads, and the one that waits."""
    first = await start("op-0")
    await until(lambda: leads(first[0]))
    second = await start("op-1")
    await until(lambda: any("objects are known" in line["message"] for line in second[0].logs()))
    return first, second


async def ready(cluster: Cluster, count: int) -> bool:
    found = await cluster.list(MODELS)
    return len(found) == count and all(conditions(each).get("Ready") == ("True", "Servable") for each in found)


async def test_a_frozen_leader_is_replaced_and_writes_nothing_when_it_wakes(cluster: Cluster, start: Start) -> None:
    (frozen, its_proxy), (other, _) = await pair(start)
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma-0"))
    await until(lambda: ready(cluster, 1))
    for number in range(1, 40):  # it is in the middle of many writes
        await cluster.create(MODELS, model_document(f"gemma-{number}"))
    await asyncio.sleep(0.05)
    frozen.freeze()
    await until(lambda: leads(other))
    await until(lambda: ready(cluster, 40))
    before = len(its_proxy.requests)
    versions = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in await cluster.list(MODELS)}
    frozen.thaw()
    await asyncio.sleep(8.0)
    woken = [each for each in its_proxy.requests[before:] if each.method in WRITES]
    assert [each for each in woken if each.kind != "leases"] == []
    assert all(each.status == 409 for each in woken), "it took the lease back while the other leads"
    assert not leads(frozen)
    assert leads(other)
    assert {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in await cluster.list(MODELS)} \
        == versions
    assert (await frozen.get("/livez"))[0] == (await frozen.get("/readyz"))[0] == 200


async def test_a_leader_that_is_cut_off_stops_before_the_other_begins(cluster: Cluster, start: Start) -> None:
    (cut, its_proxy), (other, others_proxy) = await pair(start)
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma-0"))
    await until(lambda: ready(cluster, 1))
    its_proxy.cut = True
    its_proxy.drop_streams()
    await cluster.create(MODELS, model_document("gemma-1"))
    await until(lambda: leads(other))
    await until(lambda: ready(cluster, 2))
    last = max(each.at for each in its_proxy.writes)
    first = min(each.at for each in others_proxy.writes)
    assert last < first
    its_proxy.cut = False
    await cluster.create(MODELS, model_document("gemma-2"))
    await until(lambda: ready(cluster, 3))
    assert max(each.at for each in its_proxy.writes) == last
    assert cut.running


async def test_a_clean_end_hands_over_at_once(cluster: Cluster, start: Start) -> None:
    (first, _), (second, _) = await pair(start)
    began = asyncio.get_running_loop().time()
    assert await first.stop() == 0
    await until(lambda: leads(second))
    assert asyncio.get_running_loop().time() - began < 30
    lease = await cluster.get(LEASES, "paddock-operator", SYSTEM)
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 1
    assert lease["spec"]["holderIdentity"].startswith("op-1_")


async def test_one_that_waits_is_ready_and_writes_nothing(cluster: Cluster, start: Start) -> None:
    _, (second, proxy) = await pair(start)
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma"))
    await until(lambda: ready(cluster, 1))
    assert (await second.get("/readyz"))[0] == 200
    assert [each for each in proxy.requests if each.method in WRITES] == []
    assert "paddock_operator_leader 0.0" in (await second.get("/metrics"))[1]
