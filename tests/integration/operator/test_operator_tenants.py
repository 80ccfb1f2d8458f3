"""Namespaces and what strangers write: fault 19 and the inputs 7, 8, 14 and 15, with a whole operator."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from paddock_api import cluster_names as names
from paddock_api.state import Phase
from paddock_operator.cluster.resources import CONFIG_MAPS, EVENTS, MODELS, POOLS, SECRETS
from tests import models
from tests.hub import Double, running
from tests.integration.operator.conftest import SYSTEM, Start
from tests.integration.operator.kit.cluster import (
    OURS,
    Cluster,
    conditions,
    model_document,
    pool_document,
    until,
)
from tests.integration.operator.kit.pods import ROOT, playing
from tests.integration.operator.test_operator_story import becomes, told

CANARY = "hf_canaryTokenThatNobodyMaySee"


async def test_one_name_in_two_namespaces_is_two_models(cluster: Cluster, start: Start) -> None:
    await start()
    await cluster.create(POOLS, pool_document(allowedNamespaces={"names": ["team-a", "team-b"]}))
    async with playing(cluster, "default", 1) as (pod,):
        for namespace, length in (("team-a", 1024), ("team-b", 2048)):
            await cluster.create(MODELS, model_document("gemma", engine={"contextLength": length}), namespace)
        await until(lambda: pod.config and set(pod.config.models) == {"team-a/gemma", "team-b/gemma"})
        assert pod.config is not None
        revisions = {name: entry.desired.id for name, entry in pod.config.models.items()}
        pod.phase("team-a/gemma", Phase.READY)
        pod.phase("team-b/gemma", Phase.FAILED, reason="checksum_mismatch", message="it differs")
        await becomes(cluster, "Loaded", ("True", "Loaded"), namespace="team-a")
        await becomes(cluster, "Ready", ("False", "ChecksumMismatch"), namespace="team-b")
        assert conditions(await cluster.get(MODELS, "gemma", "team-a"))["Ready"] == ("True", "Servable")
        assert "ChecksumMismatch" not in await told(cluster, namespace="team-a")
        assert "Loaded" not in await told(cluster, namespace="team-b")
        for namespace in ("team-a", "team-b"):
            (kept,) = await cluster.list(CONFIG_MAPS, namespace, labelSelector=f"{names.LABEL_MODEL}=gemma")
            assert kept["metadata"]["labels"][names.LABEL_REVISION] == revisions[f"{namespace}/gemma"]
        await cluster.delete(MODELS, "gemma", "team-b")
        await until(lambda: pod.config and set(pod.config.models) == {"team-a/gemma"})
        assert conditions(await cluster.get(MODELS, "gemma", "team-a"))["Loaded"] == ("True", "Loaded")


async def test_a_namespace_reaches_nothing_of_another(cluster: Cluster, start: Start) -> None:
    """Neither its pool, nor volumes and credentials that the pool does not offer; and no Secret is even read."""
    _, between = await start()
    token = {"type": "Opaque", "data": {"token": base64.b64encode(CANARY.encode()).decode()}}
    await cluster.create(SECRETS, {"metadata": {"name": "hub-token"}, **token}, "team-a")
    mine = [{"name": "mine", "secretName": "hub-token", "key": "token"}]
    await cluster.create(POOLS, pool_document("private", credentials=mine), "team-a")
    await cluster.create(POOLS, pool_document(allowedNamespaces={"all": True}))
    hub = {"huggingFace": {"repo": "org/model", "credential": "mine"}}
    for name, spec, reason in (
        ("pool", {"poolRef": {"namespace": "team-a", "name": "private"}}, "PoolNotAllowed"),
        ("volume", {"source": {"file": {"volume": "theirs", "path": "m.gguf"}}}, "VolumeNotFound"),
        ("secret", {"source": hub}, "CredentialNotFound"),
        ("both", {"source": hub, "poolRef": {"namespace": "team-a", "name": "private"}}, "PoolNotAllowed"),
    ):
        await cluster.create(MODELS, model_document(name, **spec), "team-b")
        await becomes(cluster, "Ready", ("False", reason), name, "team-b")
    await cluster.create(MODELS, model_document("gemma"), "team-b")
    await becomes(cluster, "Ready", ("True", "Servable"), "gemma", "team-b")
    assert [each.path for each in between.requests if each.kind == "secrets" and each.method == "GET"] == []
    kept = await cluster.list(CONFIG_MAPS, "team-b", labelSelector=names.LABEL_MODEL)
    assert [each["metadata"]["labels"][names.LABEL_MODEL] for each in kept] == ["gemma"], "the others have no revision"


async def test_labels_make_nobody_part_of_anothers_pool(cluster: Cluster, start: Start) -> None:
    """Whoever may write ConfigMaps in one namespace configures no pool of another, nor another's Model."""
    _, between = await start()
    await cluster.create(POOLS, pool_document(allowedNamespaces={"names": ["team-a"]}))
    async with playing(cluster, "default", 1) as (pod,):
        await cluster.create(MODELS, model_document("gemma"), "team-a")
        await until(lambda: pod.config and pod.config.models)
        forged = {"metadata": {"name": names.config_map("default", 0), "labels": names.pool_labels(SYSTEM, "default")},
                  "data": {"shard": "mine"}}
        await cluster.create(CONFIG_MAPS, forged, "team-b")
        (real,) = await cluster.list(CONFIG_MAPS, "team-a", labelSelector=f"{names.LABEL_MODEL}=gemma")
        copied = {key: real["metadata"][key] for key in ("name", "labels", "ownerReferences", "annotations")}
        copied["annotations"] = {**copied["annotations"], names.ANNOTATION_REVISION_NUMBER: "99",
                                 "paddock.dev/proven-at": "2026-01-01T00:00:00Z"}
        await cluster.create(CONFIG_MAPS, {"metadata": copied, "data": real["data"]}, "team-b")
        before, settled = pod.config, len(between.writes)
        await cluster.create(MODELS, model_document("second"), "team-a")  # what follows is decided with all in view
        await until(lambda: pod.config and "team-a/second" in pod.config.models)
        assert pod.config is not None
        assert before is not None
        assert pod.config.models["team-a/gemma"] == before.models["team-a/gemma"]
        assert all("/namespaces/team-b/" not in each.path for each in between.writes[settled:])


@contextlib.asynccontextmanager
async def hub_with_a_private_repository() -> AsyncIterator[tuple[Double, str]]:
    double = Double(tokens={CANARY: "alice"})
    double.repo("org/private").commit({"m.gguf": models.tiny(0)})
    double.repos["org/private"].private = True
    double.repos["org/private"].granted = {"alice"}
    with running(double) as endpoint:
        yield double, endpoint


async def test_no_token_is_shown_anywhere(cluster: Cluster, start: Start) -> None:
    """Input 7, with every word that the operator has for the API server, its log, its metrics and its command line."""
    async with hub_with_a_private_repository() as (double, endpoint):
        hosts = f"{endpoint.removeprefix('http://')},127.0.0.1:{double.cdn_port}"
        process, between = await start(PADDOCK_ALLOWED_HOSTS=hosts, PADDOCK_LOG_LEVEL="debug")
        token = base64.b64encode(CANARY.encode()).decode()
        await cluster.create(SECRETS, {"metadata": {"name": "hub-token"}, "type": "Opaque", "data": {"token": token}})
        mine = [{"name": "mine", "secretName": "hub-token", "key": "token", "endpoint": endpoint}]
        await cluster.create(POOLS, pool_document(credentials=mine))
        async with playing(cluster, "default", 1) as (pod,):
            source = {"huggingFace": {"repo": "org/private", "credential": "mine"}}
            await cluster.create(MODELS, model_document("gemma", source=source))
            await becomes(cluster, "Ready", ("True", "Servable"))
            double.repos["org/private"].granted = set()  # and now an error that has to be told
            await cluster.create(MODELS, model_document("other", source={"huggingFace": {
                **source["huggingFace"], "revision": "other"}}))
            await becomes(cluster, "Ready", ("False", "SourceNotFound"), "other")
            await until(lambda: pod.config and pod.config.models)
            shown = {"log": process.text(), "metrics": (await process.get("/metrics"))[1],
                     "process": process.command_line()}
            for kind in OURS:
                if kind is not SECRETS:
                    shown[kind.plural] = json.dumps(await cluster.list(kind))
            shown["written"] = json.dumps([each.body for each in between.writes if each.kind != "secrets"])
        bearers = {each.headers.get("authorization") for each in double.asked(place="hub")}
        assert bearers == {f"Bearer {CANARY}"}, "it was used"
        for secret in (CANARY, token, ROOT.decode(), pod.token):
            assert [place for place, text in shown.items() if secret in text] == []


async def test_strangers_words_stay_on_their_line_and_out_of_metrics(cluster: Cluster, start: Start) -> None:
    """Inputs 14 and 15: line breaks and control sequences, in what pods and people say; and a hundred names."""
    process, _ = await start(PADDOCK_LOG_LEVEL="debug")
    await cluster.create(POOLS, pool_document())
    evil = "a\r\n\x1b[31m{\"level\": \"forged\"}\u2028b"
    async with playing(cluster, "default", 1) as (pod,):
        document = model_document("gemma")
        document["metadata"]["annotations"] = {"kubernetes.io/change-cause": evil, names.ANNOTATION_RECONCILE: evil}
        await cluster.create(MODELS, document)
        await until(lambda: pod.config and pod.config.models)
        pod.phase(f"{SYSTEM}/gemma", Phase.FAILED, reason="invalid_model_file", message=evil)
        await until(lambda: _failed(cluster))
        series = _series((await process.get("/metrics"))[1])
        for number in range(100):
            await cluster.create(MODELS, model_document(f"unknown-{number}"))
        await until(lambda: _known(pod, 101))
        after = _series((await process.get("/metrics"))[1])
    assert after <= series + 1, "names are no labels"
    assert all(line["level"] != "forged" for line in process.logs())
    for text in [each["message"] for each in conditions_of(await cluster.get(MODELS, "gemma"))] \
            + [each["message"] for each in await cluster.list(EVENTS, SYSTEM)]:
        assert text.isprintable()


async def _failed(cluster: Cluster) -> bool:
    return conditions(await cluster.get(MODELS, "gemma")).get("Ready", ("", ""))[0] == "False"


def _known(pod: Any, count: int) -> bool:
    return pod.config is not None and len(pod.config.models) == count


def _series(metrics: str) -> int:
    return sum(not line.startswith("#") for line in metrics.splitlines())


def conditions_of(document: Any) -> list[dict[str, Any]]:
    return list(document["status"]["conditions"])
