"""`paddock history`, `diff` and `rollback` against a real API server, with the operator's revisions."""

from __future__ import annotations

import asyncio
import os
import sys

from paddock_api.state import Phase
from paddock_operator.cluster.resources import MODELS, POOLS
from tests.integration.operator.conftest import Start
from tests.integration.operator.kit.cluster import Cluster, Object, model_document, pool_document, until
from tests.integration.operator.kit.pods import playing

TEAM = "team-a"


async def paddock(cluster: Cluster, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "paddock_cli", *arguments, "--kubeconfig", str(cluster.server.kubeconfig),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def at(cluster: Cluster, length: int) -> Object | None:
    """The Model, once the operator has made its spec of now a revision."""
    found = await cluster.get(MODELS, "gemma", TEAM)
    assert found is not None
    status = found.get("status") or {}
    same = status.get("observedGeneration") == found["metadata"]["generation"]
    return found if same and status.get("revision") and found["spec"]["engine"]["contextLength"] == length else None


async def test_history_diff_and_rollback_in_a_cluster(cluster: Cluster, start: Start) -> None:
    await start()
    await cluster.create(POOLS, pool_document(allowedNamespaces={"all": True}))
    async with playing(cluster, "default", 1) as (pod,):
        await cluster.create(MODELS, model_document("gemma", engine={"contextLength": 512}), TEAM)
        await until(lambda: pod.config and pod.config.models)
        pod.phase(f"{TEAM}/gemma", Phase.READY)
        await until(lambda: pod.config and pod.config.models[f"{TEAM}/gemma"].last_good)
        first = await until(lambda: at(cluster, 512))
        await cluster.merge(MODELS, "gemma", {"spec": {"engine": {"contextLength": 1024}, "aliases": ["g"]}},
                            namespace=TEAM)
        await until(lambda: at(cluster, 1024))

        code, shown, errors = await paddock(cluster, "history", "gemma", "--namespace", TEAM)
        assert (code, errors) == (0, "")
        rows = [line.split() for line in shown.splitlines()]
        assert rows[0] == ["REVISION", "ID", "TIME", "STATE", "CAUSE"]
        assert [row[0] for row in rows[1:3]] == ["1", "2"]
        assert rows[1][1] == first["status"]["revision"]
        assert "lastGood" in rows[1][4]
        assert rows[2][4].startswith("desired")
        assert shown.splitlines()[2].endswith("the spec changed")

        code, shown, _ = await paddock(cluster, "diff", f"{TEAM}/gemma")
        assert (code, shown.splitlines()[:2]) == (0, ["--- revision 1", "+++ revision 2"])
        assert {"-  contextLength: 512", "+  contextLength: 1024", "+- g"} <= set(shown.splitlines())

        code, shown, errors = await paddock(cluster, "rollback", "gemma", "--namespace", TEAM)
        assert (code, errors) == (0, "")
        assert shown.startswith("team-a/gemma has the spec of revision 1 again")
        back = await until(lambda: at(cluster, 512))
        assert back["spec"] == first["spec"]
        assert back["status"]["revision"] == first["status"]["revision"]
        code, shown, _ = await paddock(cluster, "history", "gemma", "--namespace", TEAM)
        assert [line.split()[0] for line in shown.splitlines()[1:]] == ["2", "3"]
        assert shown.splitlines()[2].endswith("back to revision 1")

    code, _, errors = await paddock(cluster, "rollback", "gemma", "3", "--namespace", TEAM)
    assert (code, errors) == (1, "paddock: revision 3 is what team-a/gemma is at already\n")
    code, _, errors = await paddock(cluster, "history", "nobody", "--namespace", TEAM)
    assert (code, "there is no Model nobody in the namespace team-a" in errors) == (1, True)
    code, _, errors = await paddock(cluster, "history", "gemma", "--context", "none")
    assert (code, "name another with --kubeconfig or --context" in errors) == (1, True)
