"""One trial: so many Models applied at once to a new API server with a new operator, until nothing more is written."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.operator.audit import Audit
from bench.operator.files import Files, serving
from bench.operator.fleet import Fleet, fleet
from bench.operator.models import Watch, apply
from bench.operator.sampling import Usage, sampled
from bench.operator.writes import USER, Counts, told, without_leases
from paddock_operator.cluster.resources import NAMESPACES, POOLS, Resource
from tests.cluster.apiserver import ApiServer
from tests.integration.operator.kit.cluster import Cluster, until
from tests.integration.operator.kit.pods import ROOT
from tests.integration.operator.kit.process import OperatorProcess

NAMESPACE = "paddock-system"
_CRDS = Path(__file__).resolve().parents[2] / "crds"
_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
_POOL = "default"
# Nothing was written for so long: nothing more will be.
_QUIET = 5.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`patience`: seconds that a trial may take for each Model before it is given up, and sixty besides."""

    pods: int
    patience: float
    tiny: bytes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Seconds from the first Model's being applied: until the last was applied, was seen Ready, and until every pod had
    the whole configuration and the pool's status said so. `waits`: of each Model, the shortest first."""

    models: int
    applied: float
    ready: float
    settled: float
    waits: list[float]
    usage: Usage
    told: Counts
    refused: Counts
    audited: Counts
    read: Counts
    leases: int
    configurations: int
    files_asked: int
    problems: list[str]


async def trial(count: int, settings: Settings, folder: Path) -> Trial:
    """Raises ClusterError without an API server, AssertionError and TimeoutError when it takes too long."""
    audit = Audit(folder)
    with ApiServer(flags=audit.flags) as server:
        async with aiohttp.ClientSession() as session, serving(settings.tiny) as files:
            cluster = Cluster(server, session, NAMESPACE)
            await _prepare(cluster, settings.pods)
            async with _operator(cluster, files, folder) as operator, fleet(cluster, _POOL, settings.pods) as pods:
                await until(lambda: pods.configurations, 120.0)
                return await _measure(count, settings, cluster, files, operator, pods, audit)


async def _measure(count: int, settings: Settings, cluster: Cluster, files: Files, operator: OperatorProcess,
                   pods: Fleet, audit: Audit) -> Trial:
    await _quiet(audit, 60.0)
    obeyed, refused, read = audit.counts()
    told_before = told((await operator.get("/metrics"))[1])
    specs = {f"model-{number:05}": {"source": files.source(number)} for number in range(count)}
    patience = 60.0 + count * settings.patience
    watch, asked, configurations = Watch(), files.asked, pods.configurations
    async with sampled(operator.pid) as usage:
        watching = asyncio.create_task(watch.run(cluster, count))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await apply(cluster, specs, watch)
        applied = time.monotonic() - began
        await asyncio.wait_for(watching, patience)
        ready = max(watch.ready.values()) - began

        async def settled() -> bool:
            return pods.configured() == count and await _known(cluster, count, settings.pods)

        await until(settled, patience)
        done = time.monotonic() - began
    await _quiet(audit, patience)
    told_after, after = told((await operator.get("/metrics"))[1]), audit.counts()
    own, seen = told_after[0] - told_before[0], after[0] - obeyed
    return Trial(
        models=count, applied=applied, ready=ready, settled=done, waits=watch.waits(), usage=usage,
        told=without_leases(own), audited=without_leases(seen), read=after[2] - read,
        refused=without_leases((told_after[1] - told_before[1]) | (after[1] - refused)),
        leases=(seen - without_leases(seen)).total(), configurations=pods.configurations - configurations,
        files_asked=files.asked - asked,
        problems=[f"{count} Models: the operator logged {line['level']}: {line['message']}" for line in operator.logs()
                  if line["level"] in ("error", "critical")])


async def _prepare(cluster: Cluster, pods: int) -> None:
    cluster.server.kubectl("apply", "--server-side", "-f", str(_CRDS))
    # Not a member of system:masters: those pass by the API server's fairness.
    cluster.server.kubectl("create", "clusterrolebinding", USER, "--clusterrole=cluster-admin", f"--user={USER}")
    await cluster.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
    await cluster.create(_ACCOUNTS, {"metadata": {"name": "default"}})
    await cluster.served()
    await cluster.create(POOLS, {"metadata": {"name": _POOL}, "spec": {"replicas": pods, "memory": "8Gi"}})


@contextlib.asynccontextmanager
async def _operator(cluster: Cluster, files: Files, folder: Path) -> AsyncIterator[OperatorProcess]:
    """As it is deployed, with its defaults."""
    token = folder / "root-token"
    token.write_bytes(ROOT)
    process = OperatorProcess(folder, "operator", {
        "PADDOCK_NAMESPACE": NAMESPACE, "PADDOCK_ROOT_TOKEN_FILE": str(token), "PADDOCK_RUNTIME_IMAGE": "runtime:1",
        "PADDOCK_KUBECONFIG": str(cluster.server.user("operator", common_name=USER)),
        "PADDOCK_ALLOWED_HOSTS": files.host, "PADDOCK_LISTEN": "127.0.0.1:0"})
    await process.start()
    try:
        await until(lambda: any("this process leads" in line["message"] for line in process.logs()), 120.0)
        yield process
    except BaseException:
        print(process.text()[-4000:], file=sys.stderr)
        raise
    finally:
        await process.stop()


async def _known(cluster: Cluster, count: int, pods: int) -> bool:
    status = ((await cluster.get(POOLS, _POOL)) or {}).get("status") or {}
    return status.get("podsInSync") == pods and status.get("models", {}).get("ready") == count


async def _quiet(audit: Audit, patience: float) -> None:
    """Until nothing but the Lease was written for a while."""
    seen, since, deadline = -1, time.monotonic(), time.monotonic() + patience
    while time.monotonic() < since + _QUIET:
        count = audit.writes()
        if count != seen:
            seen, since = count, time.monotonic()
        if time.monotonic() > deadline:
            raise AssertionError(f"the operator still writes {patience:.0f} s after all was done")
        await asyncio.sleep(0.5)
