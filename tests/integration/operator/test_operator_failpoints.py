"""The operator killed before and after each of its writes: what it leaves behind in the end is always the same."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import pytest

from paddock_api.shards import KEY
from paddock_operator.cluster.failpoints import EXIT_CODE
from paddock_operator.cluster.resources import LEASES, MODELS, POOLS
from tests.integration.operator.conftest import SYSTEM, Start
from tests.integration.operator.kit.cluster import (
    Cluster,
    Object,
    Refused,
    conditions,
    model_document,
    pool_document,
    until,
)
from tests.integration.operator.kit.nursery import Nursery
from tests.integration.operator.kit.pods import PlayedPod, shard_content
from tests.integration.operator.kit.process import OperatorProcess
from tests.integration.operator.kit.proxy import Proxy, Request

pytestmark = pytest.mark.nightly  # every write of an operator's life, before and after: a life each

PINNED = model_document("gemma", loading={"policy": "Pinned"})


async def settled(cluster: Cluster, pod: PlayedPod) -> bool:
    """The Model is resolved, configured, loaded, proven; and the pool knows."""
    model, pool = await cluster.get(MODELS, "gemma"), await cluster.get(POOLS, "default")
    entry = pod.config.models.get(f"{SYSTEM}/gemma") if pod.config is not None else None
    return conditions(model).get("Loaded") == ("True", "Loaded") and entry is not None \
        and entry.last_good == entry.desired and ((pool or {}).get("status") or {}).get("podsInSync") == 1 \
        and ((pool or {}).get("status") or {}).get("models", {}).get("ready") == 1


async def result(cluster: Cluster) -> tuple[dict[str, Any], list[str]]:
    """All objects, without generations and times; and the events of the Model."""
    found = await cluster.objects()
    events = sorted(name for name in found if name.startswith("Event/Model/"))
    assert all(each["count"] == 1 for name, each in found.items() if name.startswith("Event/")), "told twice"
    objects = {name: comparable(each) for name, each in found.items() if not name.startswith("Event/")}
    return objects, events


def comparable(found: Object) -> Object:
    """Without what differs from run to run."""
    if KEY in found.get("binaryData", {}):
        found = {**found, "binaryData": shard_content(found)}
        found["metadata"]["annotations"].pop("paddock.dev/config-generation")
    found.pop("configGeneration", None)
    if "conditions" in found:
        found["conditions"] = [each for each in found["conditions"] if each["type"] != "Progressing"]
    found.get("metadata", {}).get("annotations", {}).pop("paddock.dev/proven-at", None)
    return found


async def play(cluster: Cluster) -> PlayedPod:
    """Everything that people and kubelet do; the rest is the operator's."""
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, PINNED)
    pod = PlayedPod(cluster, "default", 0)
    await pod.start()
    return pod


def of(request: Request) -> tuple[str, str, str]:
    return request.method, request.kind, "event" if request.kind == "events" else request.name


@pytest.mark.parametrize("point", ["before-any:2", "after-any:1"])
async def test_killed_at_each_write_in_turn_it_ends_with_the_same_objects(
    cluster: Cluster, start: Start, nursery: Nursery, point: str
) -> None:
    """Each life of the process makes one write, then ends: before the next one, or right after it."""
    process, between = await start(nursery=nursery)
    pod = await play(cluster)
    await until(lambda: settled(cluster, pod))
    wanted = await result(cluster)
    undisturbed = {of(each) for each in between.writes}
    await process.stop()
    await pod.stop()
    await cluster.wipe()

    armed = {"PADDOCK_TEST_FAILPOINTS": "1", "PADDOCK_FAILPOINT": point}
    pod = await play(cluster)
    try:
        ends = await _live_and_die(cluster, process, between, pod, armed)
        assert await result(cluster) == wanted
        missed = undisturbed - set(ends)
        assert not {each for each in missed if each[1] != "events"}, f"never killed at {missed}"
        assert len(ends) >= len(undisturbed)
    finally:
        await pod.stop()


async def _live_and_die(cluster: Cluster, process: OperatorProcess, between: Proxy, pod: PlayedPod,
                        armed: dict[str, str]) -> Counter[tuple[str, str, str]]:
    """Lives of one write each, until there is nothing left to write. Returns what each ended at."""
    ends: Counter[tuple[str, str, str]] = Counter()
    for _ in range(400):
        before = len(between.writes)
        await process.start(**armed)

        async def over() -> bool:
            return not process.running or await settled(cluster, pod)

        await until(over, every=0.05)
        if process.running:
            break
        assert await process.ended() == EXIT_CODE, process.text()[-2000:]
        new = between.writes[before:]
        assert len(new) <= 1
        ends.update(of(each) for each in new)
        with contextlib.suppress(Refused):
            await cluster.delete(LEASES, "paddock-operator", SYSTEM)  # rather than to wait for it to expire
    assert process.running, "it never came to an end"
    await process.stop()
    await process.start()  # unarmed, it finds nothing left to do but what its last life was about to
    await until(lambda: "this process leads" in process.text())
    await until(lambda: settled(cluster, pod))
    await process.stop()
    return ends


@pytest.mark.parametrize("point", ["before-create-leases:1", "after-create-leases:1", "before-update-leases:1",
                                   "after-update-leases:2"])
async def test_killed_at_its_lease_it_leads_again(cluster: Cluster, start: Start, point: str) -> None:
    process, _ = await start(PADDOCK_TEST_FAILPOINTS="1", PADDOCK_FAILPOINT=point)
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma"))
    assert await process.ended() == EXIT_CODE
    await process.start()

    async def ready() -> bool:
        return conditions(await cluster.get(MODELS, "gemma")).get("Ready") == ("True", "Servable")

    await until(ready)
    leases = await cluster.list(LEASES, SYSTEM)
    assert [each["metadata"]["name"] for each in leases] == ["paddock-operator"]


async def test_every_point_can_be_named(cluster: Cluster, start: Start, tmp_path: Any) -> None:
    trace = tmp_path / "trace"
    process, between = await start(PADDOCK_TEST_FAILPOINTS="1", PADDOCK_FAILPOINT_TRACE=str(trace))
    pod = await play(cluster)
    try:
        await until(lambda: settled(cluster, pod))
    finally:
        await pod.stop()
    await process.stop()
    passed = [line.rsplit(":", 1)[0] for line in trace.read_text().split()]
    assert {name.removeprefix("before-") for name in passed if name.startswith("before-")} \
        == {name.removeprefix("after-") for name in passed if name.startswith("after-")} == {
            "create-leases", "update-leases", "apply-secrets", "apply-services", "apply-poddisruptionbudgets",
            "apply-configmaps", "apply-statefulsets", "apply-models-status", "apply-runtimepools-status",
            "create-events", "annotate-pods"}
    assert between.writes
