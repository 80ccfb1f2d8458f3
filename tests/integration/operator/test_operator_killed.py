"""The operator killed once before and once after every kind of write, in its first life and in the middle of a rollout.

The nightly tests beside this one kill it at each single write."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from paddock_api import cluster_names as names
from paddock_operator.cluster.failpoints import EXIT_CODE
from paddock_operator.cluster.resources import CONFIG_MAPS, LEASES, MODELS
from paddock_operator.model.revisions import ANNOTATION_PROVEN
from tests.integration.operator.conftest import SYSTEM, Start
from tests.integration.operator.kit.cluster import Cluster, Refused, until
from tests.integration.operator.kit.nursery import Nursery
from tests.integration.operator.kit.pods import PlayedPod
from tests.integration.operator.kit.process import OperatorProcess
from tests.integration.operator.kit.proxy import Proxy
from tests.integration.operator.test_operator_failpoints import comparable, play, settled

GEMMA = f"{SYSTEM}/gemma"
CHANGE = {"spec": {"engine": {"contextLength": 1024}, "revisionHistoryLimit": 0}}
LEASE = frozenset(("create-leases", "update-leases"))
BOTH = LEASE | {"apply-secrets", "apply-configmaps", "apply-models-status", "apply-runtimepools-status",
                "create-events", "annotate-pods"}
FIRST = BOTH | {"apply-services", "apply-poddisruptionbudgets", "apply-statefulsets"}
ROLLOUT = BOTH | {"delete-configmaps"}
# A write that was on its way while the process died at another one is done, and never made again: what comes after it
# is then a death of the next round.
_ROUNDS = 3
# In the middle of the shards of one configuration.
LATE = "after-apply-configmaps:12"
TORN = frozenset(("after-apply-configmaps:5", LATE))


@dataclass
class Lives:
    """A process that is started again whenever it died. `deaths`: the points at which it did, in that order."""

    cluster: Cluster
    process: OperatorProcess
    trace: Path
    deaths: list[str] = field(default_factory=list)

    async def until(self, over: Callable[[], Awaitable[bool]], points: frozenset[str]) -> None:
        """Dies once at each of the points that it passes, then lives until it is over."""
        left = set(points)
        while True:
            await self._start(left)

            async def done() -> bool:
                # The Lease is renewed sooner or later, whatever there is to do.
                return not self.process.running or (not _of(left) & LEASE and await over())

            await until(done, every=0.05)
            if self.process.running:
                return
            left.remove(await self._died())

    async def until_death(self, at: str, points: frozenset[str]) -> None:
        """Dies once at each of the points that it passes until it has died at that one."""
        left = {at, *points}

        async def ended() -> bool:
            return not self.process.running

        while at in left:
            await self._start(left)
            await until(ended, every=0.05)
            left.remove(await self._died())

    async def _start(self, points: set[str]) -> None:
        await self.process.start(PADDOCK_TEST_FAILPOINTS="1", PADDOCK_FAILPOINT=",".join(sorted(points)),
                                 PADDOCK_FAILPOINT_TRACE=str(self.trace))

    async def _died(self) -> str:
        assert await self.process.ended() == EXIT_CODE, self.process.text()[-2000:]
        self.deaths.append(self.trace.read_text().split()[-1])
        self.trace.unlink()
        with contextlib.suppress(Refused):
            await self.cluster.delete(LEASES, "paddock-operator", SYSTEM)  # rather than to wait for it to expire
        return self.deaths[-1]


async def test_killed_at_every_kind_of_write_it_ends_with_the_same_objects(
    cluster: Cluster, start: Start, nursery: Nursery, tmp_path: Path
) -> None:
    process, between = await start(nursery=nursery)
    pod = await play(cluster)
    await until(lambda: settled(cluster, pod))
    first = await outcome(cluster)
    await cluster.merge(MODELS, "gemma", CHANGE)
    await until(lambda: rolled_out(cluster, pod))
    second = await outcome(cluster)
    await process.stop()
    await pod.stop()
    await cluster.wipe()

    pod = await play(cluster)
    try:
        left = armed(FIRST) | TORN
        for _ in range(_ROUNDS):
            lives = Lives(cluster, process, tmp_path / "trace")
            await lives.until(partial(settled, cluster, pod), left)
            assert await outcome(cluster) == first
            await process.stop()
            left -= frozenset(lives.deaths)
            if not left:
                break
            await pod.stop()
            await cluster.wipe()
            pod = await play(cluster)
        assert not left

        left = armed(ROLLOUT) | TORN
        for _ in range(_ROUNDS):
            before = len(between.requests)
            await cluster.merge(MODELS, "gemma", CHANGE)
            again = Lives(cluster, process, tmp_path / "trace")
            if LATE in left:  # first, since who died at others has too few shards left for it; the event is told before
                await again.until_death(LATE, left & armed(frozenset(("create-events",))))
            await again.until(partial(rolled_out, cluster, pod), left - set(again.deaths))
            assert await outcome(cluster) == second
            check_never_below_the_old_revision(pod, between, before)
            await process.stop()
            left -= frozenset(again.deaths)
            if not left:
                break
            await pod.stop()
            await cluster.wipe()
            pod = await play(cluster)
            await process.start()
            await until(partial(settled, cluster, pod))
            await process.stop()
        assert not left
    finally:
        await pod.stop()


async def test_no_kind_of_write_is_forgotten(cluster: Cluster, start: Start, tmp_path: Path) -> None:
    """What an undisturbed process passes is what the test above arms."""
    trace = tmp_path / "trace"
    process, _ = await start(PADDOCK_TEST_FAILPOINTS="1", PADDOCK_FAILPOINT_TRACE=str(trace))
    pod = await play(cluster)
    try:
        await until(lambda: settled(cluster, pod))
        await cluster.merge(MODELS, "gemma", CHANGE)
        await until(lambda: rolled_out(cluster, pod))
    finally:
        await pod.stop()
    await process.stop()
    assert armed(FIRST | ROLLOUT) == {f"{line.rpartition(':')[0]}:1" for line in trace.read_text().split()}


def armed(writes: frozenset[str]) -> frozenset[str]:
    return frozenset(f"{side}-{write}:1" for write in writes for side in ("before", "after"))


def _of(points: set[str]) -> set[str]:
    return {point.partition("-")[2].rpartition(":")[0] for point in points}


async def outcome(cluster: Cluster) -> tuple[dict[str, Any], dict[str, int]]:
    """All objects, and how often each event of the Model was told."""
    found = await cluster.objects()
    told = {name: each["count"] for name, each in found.items() if name.startswith("Event/Model/")}
    return {name: comparable(each) for name, each in found.items() if not name.startswith("Event/")}, told


async def rolled_out(cluster: Cluster, pod: PlayedPod) -> bool:
    """The second revision is loaded, proven, and the only one that is kept."""
    if not await settled(cluster, pod):
        return False
    kept = await cluster.list(CONFIG_MAPS, SYSTEM, labelSelector=f"{names.LABEL_MODEL}=gemma")
    assert pod.config is not None
    wanted = pod.config.models[GEMMA].desired.id
    return [each["metadata"]["labels"][names.LABEL_REVISION] for each in kept] == [wanted] \
        and kept[0]["metadata"]["annotations"][names.ANNOTATION_REVISION_NUMBER] == "2"


def check_never_below_the_old_revision(pod: PlayedPod, between: Proxy, before: int) -> None:
    """Fault 10. Until the new one is loaded the pods are told of the old one too, and it is kept until then."""
    entries = [config.models[GEMMA] for config in pod.history if GEMMA in config.models]
    first, last = entries[0].desired.id, entries[-1].desired.id
    changed = next(number for number, entry in enumerate(entries) if entry.desired.id == last)
    good = [entry.last_good.id if entry.last_good is not None else None for entry in entries[changed:]]
    assert first != last
    assert set(good) == {first, last}
    assert good == sorted(good, key=lambda each: each == last), "first the old one, then the new one, never none"
    writes = [each for each in between.requests[before:] if each.kind == "configmaps" and 200 <= each.status < 300]
    proven = next(number for number, each in enumerate(writes)
                  if each.name.endswith(last) and ANNOTATION_PROVEN in each.body["metadata"].get("annotations", {}))
    assert all(number > proven for number, each in enumerate(writes) if each.method == "DELETE")
