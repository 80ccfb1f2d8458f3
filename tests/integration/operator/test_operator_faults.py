"""Watches that die without a sign, writes that come too late, clocks that are set: faults 9, 11 and 12."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from functools import partial
from pathlib import Path

from paddock_operator.cluster.resources import LEASES, MODELS, POOLS
from tests.integration.operator.conftest import SYSTEM, Start
from tests.integration.operator.kit.cluster import Cluster, conditions, model_document, pool_document, until
from tests.integration.operator.kit.pods import playing
from tests.integration.operator.kit.process import OperatorProcess
from tests.integration.operator.kit.proxy import WRITES, Proxy, Request
from tests.integration.operator.test_operator_leadership import leads, ready

HOUR = 3600.0


async def test_a_watch_that_died_without_a_sign_is_begun_anew(cluster: Cluster, start: Start) -> None:
    """Its connection is open and tells nothing; all others work, so nothing else gives it away."""
    process, between = await start(PADDOCK_WATCH_IDLE_SECONDS="3", PADDOCK_RESYNC_SECONDS="3600")
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma-0"))
    await until(lambda: ready(cluster, 1))
    between.mute_streams()
    await cluster.create(MODELS, model_document("gemma-1"))
    await until(lambda: ready(cluster, 2), 30.0)
    made = [each.name for each in between.writes if each.kind == "configmaps" and each.name.startswith("gemma-")]
    assert len(made) == len(set(made)) == 2, "each revision is written once"
    assert process.running


async def test_a_write_that_was_long_on_its_way_overwrites_nothing_newer(cluster: Cluster, start: Start) -> None:
    """A leader's status hangs in the network while another one takes over and learns of a newer spec."""
    first, its_proxy = await start("op-0")
    await until(lambda: leads(first))
    other, _ = await start("op-1")
    await cluster.create(POOLS, pool_document())
    its_proxy.held = "models/status"
    await cluster.create(MODELS, model_document("gemma"))
    late = await until(lambda: _held(its_proxy))
    first.freeze()  # it does not even close the connection
    await until(lambda: leads(other))
    await until(lambda: ready(cluster, 1))
    await cluster.merge(MODELS, "gemma", {"spec": {"engine": {"contextLength": 1024}}})

    async def renewed() -> bool:
        found = await cluster.get(MODELS, "gemma")
        return bool(found is not None and found["status"]["observedGeneration"] == found["metadata"]["generation"] == 2)

    await until(renewed)
    before = await cluster.get(MODELS, "gemma")
    its_proxy.release.set()
    await until(lambda: late.status)
    assert late.status == 409, "it named the version that it was decided on"
    assert await cluster.get(MODELS, "gemma") == before


def _held(between: Proxy) -> Request | None:
    return next((each for each in between.requests if each.kind == "models/status" and each.method in WRITES), None)


async def test_a_clock_that_is_set_moves_no_lease_and_unloads_nothing(
    cluster: Cluster, start: Start, tmp_path: Path
) -> None:
    (leader, leaders), (waiting, others) = [await _with_own_clock(start, tmp_path, name) for name in ("op-0", "op-1")]
    await until(lambda: leads(leader) or leads(waiting))
    if leads(waiting):
        (leader, leaders), (waiting, others) = (waiting, others), (leader, leaders)
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma-0", loading={"policy": "Pinned"}))
    async with playing(cluster, "default", 1):
        await until(lambda: _loaded(cluster))
        before = await cluster.get(LEASES, "paddock-operator", SYSTEM)
        assert before is not None
        number = 1
        for offset, jump in ((leaders, HOUR), (others, HOUR), (leaders, -HOUR), (others, -HOUR)):
            offset.write_text(str(jump))
            if offset is leaders:
                await until(partial(_renewed_by_clock, cluster, jump))
            await asyncio.sleep(4.0)  # longer than a lease lasts
            await cluster.create(MODELS, model_document(f"gemma-{number}"))
            number += 1
            await until(partial(ready, cluster, number))
        lease = await cluster.get(LEASES, "paddock-operator", SYSTEM)
        assert lease is not None
        for name in ("holderIdentity", "leaseTransitions"):
            assert lease["spec"][name] == before["spec"][name]
        assert leads(leader)
        assert not leads(waiting)
        assert await _loaded(cluster)
        (told,) = [each for each in await cluster.objects() if each == "Event/Model/gemma-0/Loaded"]
        assert (await cluster.objects())[told]["count"] == 1, "it was loaded once and stayed so"


async def _with_own_clock(start: Start, folder: Path, name: str) -> tuple[OperatorProcess, Path]:
    """A replica whose time of day is off by the seconds in a file."""
    offset, site = folder / f"{name}.offset", folder / f"{name}.site"
    offset.write_text("0")
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import time, pathlib\n_real, _file = time.time, pathlib.Path({str(offset)!r})\n"
        "time.time = lambda: _real() + float(_file.read_text() or 0)\n")
    process, _ = await start(name, PYTHONPATH=str(site))
    return process, offset


async def _loaded(cluster: Cluster) -> bool:
    return conditions(await cluster.get(MODELS, "gemma-0")).get("Loaded") == ("True", "Loaded")


async def _renewed_by_clock(cluster: Cluster, jump: float) -> bool:
    """The time in the Lease, which is for people, shows that the jump did reach the process."""
    lease = await cluster.get(LEASES, "paddock-operator", SYSTEM)
    assert lease is not None
    return abs(datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp() - time.time() - jump) < HOUR / 2
