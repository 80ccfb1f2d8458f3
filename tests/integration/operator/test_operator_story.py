"""A Model's life as the cluster is told of it, with a real API server and played pods."""

from __future__ import annotations

import asyncio

from paddock_api import cluster_names as names
from paddock_api.events import EventType
from paddock_api.shards import join
from paddock_api.state import Phase
from paddock_operator.cluster.resources import CONFIG_MAPS, EVENTS, MODELS, PODS, POOLS
from tests.integration.operator.conftest import Start
from tests.integration.operator.kit.cluster import (
    Cluster,
    Object,
    conditions,
    model_document,
    pool_document,
    until,
)
from tests.integration.operator.kit.pods import PlayedPod, mounted, playing


async def condition(cluster: Cluster, kind: str, name: str = "gemma", namespace: str | None = None) -> tuple[str, str]:
    return conditions(await cluster.get(MODELS, name, namespace)).get(kind, ("", ""))


async def becomes(cluster: Cluster, kind: str, wanted: tuple[str, str], name: str = "gemma",
                  namespace: str | None = None) -> None:
    async def there() -> bool:
        return await condition(cluster, kind, name, namespace) == wanted

    try:
        await until(there)
    except AssertionError:
        raise AssertionError(f"{kind} is {await condition(cluster, kind, name, namespace)}, not {wanted}") from None


async def told(cluster: Cluster, name: str = "gemma", namespace: str | None = None) -> list[str]:
    """The reasons of its events, oldest first."""
    found = [each for each in await cluster.list(EVENTS, namespace or cluster.namespace)
             if each["involvedObject"]["name"] == name and each["involvedObject"]["kind"] == "Model"]
    return [each["reason"] for each in sorted(found, key=lambda each: int(each["metadata"]["resourceVersion"]))]


async def status(cluster: Cluster, name: str = "gemma") -> Object:
    found = await cluster.get(MODELS, name)
    assert found is not None
    return dict(found["status"])


async def test_describe_tells_the_story(cluster: Cluster, start: Start) -> None:
    await start()
    await cluster.create(POOLS, pool_document())
    async with playing(cluster, "default", 2) as (first, second):
        await cluster.create(MODELS, model_document("gemma"))
        await becomes(cluster, "Ready", ("True", "Servable"))
        await becomes(cluster, "Cached", ("True", "Cached"))
        assert await condition(cluster, "Loaded") == ("False", "NotLoaded")
        await until(lambda: first.config and second.config and "paddock-system/gemma" in first.config.models)

        gemma = "paddock-system/gemma"
        second.phase(gemma, Phase.ABSENT)
        first.phase(gemma, Phase.FETCHING)
        await becomes(cluster, "Cached", ("False", "Fetching"))
        first.phase(gemma, Phase.LOADING)
        await becomes(cluster, "Loaded", ("False", "Loading"))
        first.phase(gemma, Phase.READY, measured_bytes=300 << 20, last_used=1_790_000_000.0)
        await becomes(cluster, "Loaded", ("True", "Loaded"))
        await until(lambda: _measured(cluster))
        found = await status(cluster)
        assert found["activeRevision"] == found["revision"]
        assert found["replicas"] == {"fetching": 0, "cached": 0, "loading": 0, "ready": 1, "draining": 0, "failed": 0}

        first.phase(gemma, Phase.DRAINING, reason="idle")
        first.phase(gemma, Phase.CACHED)
        await becomes(cluster, "Loaded", ("False", "Idle"))
        second.phase(gemma, Phase.READY)
        await becomes(cluster, "Loaded", ("True", "Loaded"))
        second.phase(gemma, Phase.UNLOADING, reason="room")
        second.phase(gemma, Phase.CACHED)
        await becomes(cluster, "Loaded", ("False", "Evicted"))
        assert await told(cluster) == ["Resolved", "Cached", "Downloading", "Cached", "Loading", "Loaded", "Unloaded",
                                       "Loaded", "Evicted"]
        described = cluster.server.kubectl("describe", "model", "gemma", "-n", cluster.namespace)
        assert "another Model needed the memory" in described
        assert "Evicted" in described.split("Events:")[1]


async def _measured(cluster: Cluster) -> bool:
    return bool((await status(cluster)).get("memory", {}).get("measuredBytes") == 300 << 20)


async def test_pods_that_never_report_are_not_guessed_at(cluster: Cluster, start: Start) -> None:
    await start()
    await cluster.create(POOLS, pool_document())
    await cluster.create(MODELS, model_document("gemma"))
    await becomes(cluster, "Ready", ("True", "Servable"))
    for kind in ("Cached", "Loaded", "Degraded"):
        assert await condition(cluster, kind) == ("Unknown", "NoReport")
    assert "replicas" not in await status(cluster)


async def test_the_last_good_revision_moves_when_a_pod_has_loaded_the_new_one(cluster: Cluster, start: Start) -> None:
    await start()
    await cluster.create(POOLS, pool_document())
    async with playing(cluster, "default", 1) as (pod,):
        await cluster.create(MODELS, model_document("gemma"))
        await until(lambda: pod.config and pod.config.models)
        assert pod.config is not None
        gemma = "paddock-system/gemma"
        first = pod.config.models[gemma].desired.id
        assert pod.config.models[gemma].last_good is None
        pod.phase(gemma, Phase.READY)
        await until(lambda: pod.config and pod.config.models[gemma].last_good is not None)

        await cluster.merge(MODELS, "gemma", {"spec": {"engine": {"contextLength": 1024}}})
        await until(lambda: pod.config and pod.config.models[gemma].desired.id != first)
        entry = pod.config.models[gemma]
        assert (entry.last_good.id if entry.last_good else None) == first
        pod.phase(gemma, Phase.READY, revision=first)
        pod.phase(gemma, Phase.FAILED, revision=entry.desired.id, reason="checksum_mismatch", message="it differs")
        await becomes(cluster, "Degraded", ("True", "ChecksumMismatch"))
        assert await condition(cluster, "Ready") == ("True", "LastGoodServes")
        pod.phase(gemma, Phase.READY, revision=entry.desired.id)
        await becomes(cluster, "Degraded", ("False", "AsWanted"))
        await until(lambda: pod.config and pod.config.models[gemma].last_good == entry.desired)
        found = await status(cluster)
        assert found["revision"] == found["activeRevision"] == entry.desired.id
        assert [each for each in await told(cluster) if each in ("Degraded", "Recovered")] == ["Degraded", "Recovered"]
        kept = await cluster.list(CONFIG_MAPS, cluster.namespace, labelSelector=f"{names.LABEL_MODEL}=gemma")
        numbers = {}
        for each in kept:
            annotations = each["metadata"]["annotations"]
            numbers[each["metadata"]["labels"][names.LABEL_REVISION]] = (
                annotations[names.ANNOTATION_REVISION_NUMBER], annotations[names.ANNOTATION_REVISION_CAUSE],
                each["immutable"])
        assert numbers == {first: ("1", "created", True), entry.desired.id: ("2", "the spec changed", True)}
        # never was the old one left out before the new one was proven
        assert all(config.models[gemma].last_good is not None for config in pod.history
                   if gemma in config.models and config.models[gemma].desired.id != first)


async def test_pods_are_annotated_until_they_report_the_configuration(cluster: Cluster, start: Start) -> None:
    await start()
    await cluster.create(POOLS, pool_document())
    async with playing(cluster, "default", 1, obeys=False) as (pod,):
        async def annotation() -> str | None:
            found = await cluster.get(PODS, pod.name)
            assert found is not None
            value: str | None = found["metadata"].get("annotations", {}).get(names.ANNOTATION_CONFIG_HASH)
            return value

        async def hash_() -> str | None:
            found = await cluster.get(POOLS, "default")
            value: str | None = ((found or {}).get("status") or {}).get("configHash")
            return value

        async def nudged_again() -> bool:
            return await annotation() == f"{await hash_()}.1"

        await until(annotation)
        assert await annotation() == await hash_()
        await until(nudged_again)
        pod.take(join(await mounted(cluster, "default")))

        async def in_sync() -> bool:
            found = await cluster.get(POOLS, "default")
            return bool(found is not None and found["status"].get("podsInSync") == 1)

        await until(in_sync)
        last = await annotation()
        await asyncio.sleep(12.0)
        assert await annotation() == last


async def test_what_pods_say_in_a_burst_is_written_once(cluster: Cluster, start: Start) -> None:
    _, between = await start()
    await cluster.create(POOLS, pool_document())
    async with playing(cluster, "default", 1) as (pod,):
        await cluster.create(MODELS, model_document("gemma"))
        await until(lambda: pod.config and pod.config.models)
        await becomes(cluster, "Cached", ("True", "Cached"))
        await asyncio.sleep(2.0)
        before = len([each for each in between.writes if each.kind == "models/status"])
        began = asyncio.get_running_loop().time()
        for _ in range(200):
            pod.phase("paddock-system/gemma", Phase.LOADING)
            pod.phase("paddock-system/gemma", Phase.READY)
            await asyncio.sleep(0.02)
        await becomes(cluster, "Loaded", ("True", "Loaded"))
        took = asyncio.get_running_loop().time() - began
        written = len([each for each in between.writes if each.kind == "models/status"]) - before
        assert 1 <= written <= took + 2, f"{written} statuses in {took:.1f} s"
        await asyncio.sleep(3.0)
        settled = len(between.writes)
        await asyncio.sleep(5.0)
        assert len(between.writes) == settled  # nothing new, nothing written


async def test_gaps_new_lives_and_hang_ups_of_a_pod_are_made_good(cluster: Cluster, start: Start) -> None:
    await start()
    await cluster.create(POOLS, pool_document())
    async with playing(cluster, "default", 1) as (pod,):
        await cluster.create(MODELS, model_document("gemma"))
        await until(lambda: pod.config and pod.config.models)
        gemma = "paddock-system/gemma"
        pod.phase(gemma, Phase.READY)
        await becomes(cluster, "Loaded", ("True", "Loaded"))
        pod.phase(gemma, Phase.DRAINING, silently=True)
        pod.phase(gemma, Phase.CACHED, silently=True)
        pod.skip(3)
        pod.emit(EventType.MEMORY)  # the first thing after the gap tells nothing of the Model
        await becomes(cluster, "Loaded", ("False", "NotLoaded"))
        pod.phase(gemma, Phase.READY, silently=True)
        pod.hang_up()
        await becomes(cluster, "Loaded", ("True", "Loaded"))
        assert pod.refused == 0
        await pod.stop(leave=True)
        again = PlayedPod(cluster, "default", 0)
        await cluster.delete(PODS, pod.name)
        await again.start()
        try:
            await becomes(cluster, "Loaded", ("False", "NotLoaded"))
        finally:
            await again.stop()
        await becomes(cluster, "Loaded", ("Unknown", "NoReport"))
