"""A bad spec is refused by the API server, at once and by the field's path: nobody waits for an operator."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api.canonical import short_hash
from paddock_api.kinds import KINDS
from paddock_api.manifest import ManifestError, parse
from paddock_api.metadata import API_VERSION
from tests.integration.crds.client import Api

FILE = {"source": {"file": {"path": "m.gguf", "volume": "models"}}}
HF = {"repo": "o/r"}
HTTP = {"url": "https://h.example/m.gguf", "sha256": "a" * 64}
POOL = {"memory": "8Gi"}
HUB = {"author": "ggml-org"}


def source(**given: Any) -> dict[str, Any]:
    return {"source": given}


def engine(**given: Any) -> dict[str, Any]:
    return {**FILE, "engine": given}


def pool(**given: Any) -> dict[str, Any]:
    return {**POOL, **given}


def hub(**given: Any) -> dict[str, Any]:
    return {**HUB, **given}


def claim(**given: Any) -> dict[str, Any]:
    return pool(cache={"volumeClaimTemplate": {"size": "1Gi", **given}})


# (spec, path of the field in the answer, words of the remedy)
MODELS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "spec.source", "Required value"),
    ({"source": {}}, "spec.source", "set exactly one of huggingFace, http, file, hub"),
    (source(http=HTTP, huggingFace=HF), "spec.source", "set exactly one of huggingFace, http, file, hub"),
    (source(http={"url": "https://h/m"}), "spec.source.http.sha256", "Required value"),
    (source(http={**HTTP, "sha256": "A" * 64}), "spec.source.http.sha256", "should match"),
    (source(http={**HTTP, "sha256": "a" * 63}), "spec.source.http.sha256", "64"),
    (source(http={**HTTP, "url": "ftp://h/m"}), "spec.source.http.url", "should match"),
    (source(http={**HTTP, "url": "https://user:word@h/m"}), "spec.source.http.url", "remove the user name"),
    (source(http={**HTTP, "url": "https://h/" + "m" * 2048}), "spec.source.http.url", "2048"),
    (source(huggingFace={"repo": "no-owner"}), "spec.source.huggingFace.repo", "should match"),
    (source(huggingFace={**HF, "file": "m.gguf", "quant": "Q4_K_M"}), "spec.source.huggingFace", "not both"),
    (source(huggingFace={**HF, "file": "../m.gguf"}), "spec.source.huggingFace.file", "inside the repository"),
    (source(huggingFace={**HF, "file": "/m.gguf"}), "spec.source.huggingFace.file", "inside the repository"),
    (source(huggingFace={**HF, "credential": "Upper"}), "spec.source.huggingFace.credential", "should match"),
    (source(file={"path": "/etc/passwd", "volume": "v"}), "spec.source.file.path", "inside the volume"),
    (source(file={"path": "a/../../b", "volume": "v"}), "spec.source.file.path", "inside the volume"),
    (source(file={"volume": "v"}), "spec.source.file.path", "Required value"),
    (source(hub={"name": "h"}), "spec.source.hub.model", "Required value"),
    ({**FILE, "updatePolicy": "Sometimes"}, "spec.updatePolicy", "Pin"),
    (engine(type="vllm"), "spec.engine.type", "llama.cpp"),
    (engine(contextLength=0), "spec.engine.contextLength", "greater than or equal to 1"),
    (engine(contextLength="4096"), "spec.engine.contextLength", "must be of type integer"),
    (engine(contextLength=4096, cacheTokens=2048), "spec.engine", "contextLength must not exceed cacheTokens"),
    (engine(parallel=129), "spec.engine.parallel", "less than or equal to 128"),
    (engine(gpuLayers=-2), "spec.engine.gpuLayers", "greater than or equal to -1"),
    (engine(cacheTypeK="q8_0"), "spec.engine.cacheTypeK", "Q8_0"),
    (engine(embeddings="yes"), "spec.engine.embeddings", "boolean"),
    (engine(chatTemplate=""), "spec.engine.chatTemplate", "at least 1"),
    (engine(chatTemplates="x"), "spec.engine.chatTemplates", "unknown field"),
    (engine(adapters=[{"source": {}}]), "spec.engine.adapters[0].source", "set exactly one of"),
    (engine(adapters=[FILE] * 9), "spec.engine.adapters", "at most 8"),
    ({**FILE, "defaults": {"temperature": 2.5}}, "spec.defaults.temperature", "less than or equal to 2"),
    ({**FILE, "defaults": {"repeatPenalty": 0}}, "spec.defaults.repeatPenalty", "greater than 0"),
    ({**FILE, "defaults": {"topK": 1.5}}, "spec.defaults.topK", "integer"),
    ({**FILE, "loading": {"policy": "Always"}}, "spec.loading.policy", "OnDemand"),
    ({**FILE, "loading": {"idleTimeout": "10 minutes"}}, "spec.loading.idleTimeout", "should match"),
    ({**FILE, "loading": {"idleTimeout": -1}}, "spec.loading.idleTimeout", "string"),
    ({**FILE, "loading": {"warmup": [""]}}, "spec.loading.warmup[0]", "at least 1"),
    ({**FILE, "verify": [{"prompt": "a"}]}, "spec.verify[0]", "exactly one of contains, matches, schema, maxDistance"),
    ({**FILE, "verify": [{"prompt": "a", "contains": "b", "schema": {}}]}, "spec.verify[0]", "exactly one of contains"),
    ({**FILE, "verify": [{"contains": "b"}]}, "spec.verify[0]", "exactly one of prompt and messages"),
    ({**FILE, "verify": [{"prompt": "a", "maxDistance": 0}]}, "spec.verify[0].maxDistance", "greater than 0"),
    ({**FILE, "verify": [{"prompt": "a", "contains": "b"}] * 17}, "spec.verify", "at most 16"),
    ({**FILE, "scaling": {"maxReplicas": 0}}, "spec.scaling.maxReplicas", "greater than or equal to 1"),
    ({**FILE, "scaling": {"minReplicas": 3, "maxReplicas": 2}}, "spec.scaling", "minReplicas must not exceed"),
    ({**FILE, "aliases": ["a/b"]}, "spec.aliases[0]", "should match"),
    ({**FILE, "aliases": ["a", "a"]}, "spec.aliases[1]", "Duplicate value"),
    ({**FILE, "poolRef": {"namespace": "n"}}, "spec.poolRef.name", "Required value"),
    ({**FILE, "revisionHistoryLimit": 101}, "spec.revisionHistoryLimit", "less than or equal to 100"),
]
POOLS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "spec.memory", "Required value"),
    (pool(memory="8GB"), "spec.memory", "should match"),
    (pool(memory=0), "spec.memory", "give more than 0, such as 8Gi"),
    (pool(memory="0Gi"), "spec.memory", "give more than 0, such as 8Gi"),
    (pool(memory=-1), "spec.memory", "greater than or equal to 0"),
    (pool(memory=True), "spec.memory", "integer,string"),
    (pool(disk="0"), "spec.disk", "give more than 0"),
    (pool(replicas=-1), "spec.replicas", "greater than or equal to 0"),
    (pool(replicas=1001), "spec.replicas", "less than or equal to 1000"),
    (pool(cache={}), "spec.cache", "set exactly one of emptyDir, volumeClaimTemplate, persistentVolumeClaim"),
    (pool(cache={"emptyDir": {}, "persistentVolumeClaim": {"claimName": "c"}}), "spec.cache", "set exactly one of"),
    (pool(cache={"hostPath": {"path": "/"}}), "spec.cache.hostPath", "unknown field"),
    (claim(size=0), "spec.cache.volumeClaimTemplate.size", "give more than 0"),
    (claim(accessModes=["ReadWriteOften"]), "spec.cache.volumeClaimTemplate.accessModes[0]", "ReadWriteOnce"),
    (pool(image=""), "spec.image", "at least 1"),
    (pool(image="a b"), "spec.image", "should match"),
    (pool(imagePullPolicy="always"), "spec.imagePullPolicy", "IfNotPresent"),
    (pool(resources={"limits": {"memory": "8Gi"}}), "resources.limits.memory", "give more than spec.memory"),
    (pool(resources={"limits": {"memory": "1Gi"}}), "resources.limits.memory", "give more than spec.memory"),
    (pool(resources={"limits": {"cpu": "two"}}), "spec.resources.limits.cpu", "should match"),
    (pool(resources={"requests": {"c p u": 1}}), "spec.resources.requests", "use keys such as"),
    (pool(nodeSelector={"a b": "c"}), "spec.nodeSelector", "use keys such as"),
    (pool(nodeSelector={"a": "-"}), "spec.nodeSelector.a", "should match"),
    (pool(tolerations=[{"operator": "Exists", "key": "a", "value": "b"}]), "spec.tolerations[0].value", "Exists takes"),
    (pool(tolerations=[{"value": "b"}]), "spec.tolerations[0].key", "give one"),
    (pool(tolerations=[{"key": "a", "tolerationSeconds": 3}]), "spec.tolerations[0].tolerationSeconds", "NoExecute"),
    (pool(podLabels={"paddock.dev/pool": "x"}), "spec.podLabels", "that Paddock sets itself"),
    (pool(podLabels={"app.kubernetes.io/name": "x"}), "spec.podLabels", "that Paddock sets itself"),
    (pool(podAnnotations={"paddock.dev/config-hash": "x"}), "spec.podAnnotations", "Paddock sets them itself"),
    (pool(allowedNamespaces={"all": True, "names": []}), "spec.allowedNamespaces.all", "remove names and selector"),
    (pool(allowedNamespaces={"names": ["a", "a"]}), "spec.allowedNamespaces.names[1]", "Duplicate value"),
    (pool(allowedNamespaces={"selector": {"matchExpressions": [{"key": "k", "operator": "In"}]}}),
     "spec.allowedNamespaces.selector.matchExpressions[0].values", "give at least one"),
    (pool(volumes=[{"name": "a"}]), "spec.volumes[0]", "set exactly one of persistentVolumeClaim, emptyDir"),
    (pool(volumes=[{"name": "a", "emptyDir": {}}] * 2), "spec.volumes[1]", "Duplicate value"),
    (pool(volumes=[{"name": "a.b", "emptyDir": {}}]), "spec.volumes[0].name", "should match"),
    (pool(volumes=[{"name": "a", "hostPath": {"path": "/"}}]), "spec.volumes[0].hostPath", "unknown field"),
    (pool(credentials=[{"name": "a"}]), "spec.credentials[0].secretName", "Required value"),
    (pool(credentials=[{"name": "a", "secretName": "s", "endpoint": "https://t:x@h"}]),
     "spec.credentials[0].endpoint", "remove the user name"),
    (pool(drainSeconds=3601), "spec.drainSeconds", "less than or equal to 3600"),
    (pool(updateStrategy={"type": "OnDelete", "rollingUpdate": {}}), "spec.updateStrategy.rollingUpdate", "remove it"),
    (pool(updateStrategy={"rollingUpdate": {"maxUnavailable": "0%"}}),
     "spec.updateStrategy.rollingUpdate.maxUnavailable", "should match"),
    (pool(updateStrategy={"rollingUpdate": {"maxUnavailable": 0}}),
     "spec.updateStrategy.rollingUpdate.maxUnavailable", "greater than or equal to 1"),
    (pool(env=[{"name": "A", "value": "b"}]), "spec.env", "unknown field"),
]
HUBS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "spec", "set exactly one of author, collection, search, repos"),
    (hub(repos=["a/b"]), "spec", "set exactly one of author, collection, search, repos"),
    ({"repos": []}, "spec.repos", "at least 1"),
    ({"repos": ["a"]}, "spec.repos[0]", "should match"),
    ({"repos": ["a/b", "a/b"]}, "spec.repos[1]", "Duplicate value"),
    (hub(author="a/b"), "spec.author", "should match"),
    (hub(interval="59s"), "spec.interval", "give at least 1m"),
    (hub(interval="1d"), "spec.interval", "should match"),
    (hub(timeout="0s"), "spec.timeout", "give more than 0s"),
    (hub(auditEvery=0), "spec.auditEvery", "greater than or equal to 1"),
    (hub(limit=10001), "spec.limit", "less than or equal to 10000"),
    (hub(endpoint="https://u:p@hub.example"), "spec.endpoint", "remove the user name"),
    (hub(endpoint="hub.example"), "spec.endpoint", "should match"),
    (hub(**{"import": {"include": ["a b"]}}), "spec.import.include[0]", "should match"),
    (hub(**{"import": {"prune": "Keep"}}), "spec.import.prune", "Orphan"),
    (hub(**{"import": {"template": {"spec": FILE}}}), "spec.import.template.spec.source", "unknown field"),
    (hub(**{"import": {"template": {"spec": {"scaling": {"minReplicas": 2, "maxReplicas": 1}}}}}),
     "spec.import.template.spec.scaling", "minReplicas must not exceed"),
    (hub(**{"import": {"template": {"metadata": {"labels": {"a b": "c"}}}}}),
     "spec.import.template.metadata.labels", "use keys such as"),
    (hub(prefetch={"disk": "lots"}), "spec.prefetch.disk", "should match"),
]
TABLE = [(kind, *case) for kind, cases in (("Model", MODELS), ("RuntimePool", POOLS), ("ModelHub", HUBS))
         for case in cases]
TYPES = {kind.name: kind.type for kind in KINDS}


def document(kind: str, spec: dict[str, Any], name: str = "bad") -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_a_good_spec_of_each_kind_is_taken(api: Api) -> None:
    """Or a refusal would prove nothing."""
    for kind, spec in (("Model", FILE), ("RuntimePool", claim()), ("ModelHub", HUB)):
        assert api.create(document(kind, spec), dry_run=True).message == ""


@pytest.mark.parametrize(("kind", "spec", "field", "remedy"), TABLE, ids=[f"{case[0]}-{case[2]}" for case in TABLE])
def test_a_bad_spec_is_refused_by_field(api: Api, kind: str, spec: dict[str, Any], field: str, remedy: str) -> None:
    answer = api.create(document(kind, spec), dry_run=True)
    assert answer.status in (400, 422), "it was taken"
    assert field in answer.message
    assert remedy in answer.message
    with pytest.raises(ManifestError) as caught:
        parse(TYPES[kind], document(kind, spec))
    own = [problem.path for problem in caught.value.problems]
    assert any(path.startswith(field.split("[1]")[0]) or field in path for path in own), f"the types say {own}"


@pytest.mark.parametrize(("kind", "spec", "name", "remedy"), [
    ("Model", FILE, "m" * 64, "metadata.name: at most 63"),
    ("RuntimePool", POOL, "p" * 64, "metadata.name: use at most 63"),
    ("RuntimePool", POOL, "1st", "metadata.name: use at most 63"),
    ("RuntimePool", POOL, "a.b", "metadata.name: use at most 63"),
    ("ModelHub", HUB, "h" * 64, "metadata.name: at most 63"),
])
def test_a_name_that_makes_bad_labels_or_services_is_refused(
    api: Api, kind: str, spec: dict[str, Any], name: str, remedy: str
) -> None:
    answer = api.create(document(kind, spec, name), dry_run=True)
    assert answer.status == 422
    assert remedy in answer.message
    with pytest.raises(ManifestError, match=r"metadata\.name"):
        parse(TYPES[kind], document(kind, spec, name))


@pytest.mark.parametrize(("before", "after"), [
    ({}, {"volumeClaimTemplate": {"size": "1Gi"}}),
    ({"volumeClaimTemplate": {"size": "1Gi"}}, {"emptyDir": {}}),
    ({"volumeClaimTemplate": {"size": "1Gi"}}, {"volumeClaimTemplate": {"size": "2Gi"}}),
    ({"volumeClaimTemplate": {"size": "1Gi"}}, {"volumeClaimTemplate": {"size": "1Gi", "storageClassName": ""}}),
])
def test_claims_of_a_stateful_set_stay_as_they_are(api: Api, before: dict[str, Any], after: dict[str, Any]) -> None:
    name = f"claims-{short_hash([before, after])}"
    old = pool(cache=before) if before else POOL
    assert api.apply(document("RuntimePool", old, name)).status == 201
    assert api.apply(document("RuntimePool", {**old, "replicas": 0}, name)).status == 200, "all else may change"
    answer = api.apply(document("RuntimePool", pool(cache=after), name))
    assert answer.status == 422
    assert "spec.cache.volumeClaimTemplate" in answer.message
    assert "make a RuntimePool of another name" in answer.message


def test_other_caches_may_change_into_each_other(api: Api) -> None:
    caches: list[dict[str, Any]] = [
        {"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": "c"}}, {"emptyDir": {"sizeLimit": "1Gi"}}]
    for cache in caches:
        assert api.apply(document("RuntimePool", pool(cache=cache), "moves")).status in (200, 201)


def test_the_table_is_as_long_as_promised() -> None:
    assert len(TABLE) >= 100
    assert {kind for kind, *_ in TABLE} == set(TYPES)
