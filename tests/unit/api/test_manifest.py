"""A manifest becomes a Model, or every fault of it is told by the path that the user typed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from paddock_api.errors import Code
from paddock_api.manifest import ManifestError, parse_model
from paddock_api.model import LoadingPolicy, Model

DIGEST = "a" * 64


def document(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "paddock.dev/v1alpha1", "kind": "Model", "metadata": {"name": "gemma"},
            "spec": {"source": {"file": {"path": "models/gemma.gguf"}}, **spec}}


FULL = """
apiVersion: paddock.dev/v1alpha1
kind: Model
metadata: {name: gemma-3, namespace: team-a, labels: {a: b}, managedFields: [{manager: kubectl}]}
spec:
  source: {http: {url: "https://host.example/gemma.gguf?x=a@b", sha256: "SHA"}}
  updatePolicy: Follow
  engine:
    type: llama.cpp
    contextLength: 2048
    cacheTokens: 2048
    parallel: 1
    gpuLayers: 0
    cacheTypeK: Q8_0
    cacheTypeV: F32
    slidingWindowCache: Window
    embeddings: false
    pooling: None
    chatTemplate: "{{ messages }}"
    adapters: [{source: {hub: {name: hub, model: a}}, scale: 0}]
  defaults: {temperature: 0, topK: 0, topP: 0.5, minP: 0, repeatPenalty: 1, presencePenalty: 0, frequencyPenalty: -1,
             maxTokens: 1, seed: 0, systemPrompt: ""}
  loading: {policy: Pinned, priority: 0, idleTimeout: 0s, minResidency: 0s, warmup: []}
  scaling: {minReplicas: 0, maxReplicas: 1}
  aliases: ["gpt-4o", "llama3:8b"]
  poolRef: {name: default}
  revisionHistoryLimit: 0
  verify:
  - {prompt: "One", maxTokens: 1, contains: "two"}
  - {messages: [{role: user, content: ""}], maxTokens: 8, schema: {type: boolean, enum: [false]}}
""".replace("SHA", DIGEST)


def test_every_field_round_trips_with_explicit_zero_false_and_empty() -> None:
    written = yaml.safe_load(FULL)
    spec = parse_model(written).spec
    back = spec.model_dump(mode="json")
    assert back == written["spec"]
    assert type(spec).model_validate(back) == spec
    assert set(back) == {field.alias for field in type(spec).model_fields.values()}, "the test covers each field"
    assert set(back["engine"]) == {field.alias for field in type(spec.engine).model_fields.values()}


def test_what_is_not_set_is_not_written_and_reads_as_the_default() -> None:
    model = parse_model(document())
    assert json.loads(model.spec.model_dump_json()) == {"source": {"file": {"path": "models/gemma.gguf"}}}
    assert model.spec.loading.idle_timeout == "10m"
    assert model.spec.loading.policy is LoadingPolicy.ON_DEMAND
    assert model.spec.engine.adapters == []


def test_null_means_not_set_as_on_the_api_server() -> None:
    model = parse_model(document(engine={"contextLength": None, "gpuLayers": None}, aliases=None))
    assert model.spec.model_dump(mode="json")["engine"] == {}
    assert model.spec.engine.gpu_layers == 0


def test_namespace_comes_from_the_document_else_from_the_caller() -> None:
    assert str(parse_model(yaml.safe_load(FULL)).id) == "team-a/gemma-3"
    assert str(parse_model(document(), namespace="mine").id) == "mine/gemma"


def test_status_is_left_out_unless_asked_for_and_a_newer_one_is_read() -> None:
    status = {"revision": "x", "replicas": {"ready": 0}, "fromTheFuture": 1,
              "conditions": [{"type": "Ready", "status": "True", "reason": "Resolved", "lastTransitionTime": "t"}]}
    manifest = {**document(), "status": status}
    assert parse_model(manifest).status is None
    read = parse_model(manifest, with_status=True).status
    assert read is not None
    assert read.conditions[0].status == "True"
    assert read.replicas is not None
    assert read.replicas.ready == 0


BAD: list[tuple[dict[str, Any], str, str]] = [
    (document(engine={"contextLength": 0}), "spec.engine.contextLength", "at least 1 (it is 0)"),
    (document(engine={"contextLength": "2048"}), "spec.engine.contextLength", "whole number, without quotes"),
    (document(engine={"parallel": True}), "spec.engine.parallel", "whole number"),
    (document(engine={"parallel": 1.5}), "spec.engine.parallel", "whole number"),
    (document(engine={"parallel": 129}), "spec.engine.parallel", "at most 128"),
    (document(engine={"gpuLayers": -2}), "spec.engine.gpuLayers", "at least -1"),
    (document(engine={"embeddings": "yes"}), "spec.engine.embeddings", "true or false"),
    (document(engine={"context_length": 5}), "spec.engine.context_length", "did you mean contextLength?"),
    (document(engine={"ctxSize": 5}), "spec.engine.ctxSize", "no such field; remove it"),
    (document(engine={"cacheTypeK": "q8_0"}), "spec.engine.cacheTypeK", "one of 'F32', 'F16', 'BF16', 'Q8_0'"),
    (document(engine={"type": "vllm"}), "spec.engine.type", "must be one of 'llama.cpp'"),
    (document(engine={"contextLength": 10, "cacheTokens": 9}), "spec.engine", "must not exceed cacheTokens"),
    (document(engine={"chatTemplate": ""}), "spec.engine.chatTemplate", "at least 1 characters"),
    (document(engine={"chatTemplate": "x" * 65537}), "spec.engine.chatTemplate", "at most 65536 characters"),
    (document(engine={"adapters": [{"source": {}}]}), "spec.engine.adapters[0].source", "exactly one of"),
    (document(engine=[]), "spec.engine", "mapping of fields"),
    (document(source={}), "spec.source", "exactly one of huggingFace, http, file, hub (set: none)"),
    (document(source={"hub": {"name": "a", "model": "b"}, "file": {"path": "x"}}), "spec.source", "set: file, hub"),
    (document(source={"http": {"url": "https://h/f"}}), "spec.source.http.sha256", "is required"),
    (document(source={"http": {"url": "ftp://h/f", "sha256": DIGEST}}), "spec.source.http.url", "http://"),
    (document(source={"http": {"url": "https://", "sha256": DIGEST}}), "spec.source.http.url", "a host"),
    (document(source={"http": {"url": "https://u:pw@h/f", "sha256": DIGEST}}), "spec.source.http.url", "password"),
    (document(source={"http": {"url": "https://h/f g", "sha256": DIGEST}}), "spec.source.http.url", "percent-encode"),
    (document(source={"http": {"url": "https://h/f", "sha256": "A" * 64}}), "spec.source.http.sha256", "hex digits"),
    (document(source={"file": {"path": "../x", "volume": "v"}}), "spec.source.file.path", "upward"),
    (document(source={"file": {"path": "/x", "volume": "v"}}), "spec.source.file.path", "absolute"),
    (document(source={"file": {"path": "a\0b"}}), "spec.source.file.path", "control characters"),
    (document(source={"huggingFace": {"repo": "gemma"}}), "spec.source.huggingFace.repo", "owner/repository"),
    (document(source={"huggingFace": {"repo": "a/b", "file": "x", "quant": "Q4"}}), "spec.source.huggingFace",
     "set file or quant, not both"),
    (document(source={"huggingFace": {"repo": "a/b", "file": "a/../x"}}), "spec.source.huggingFace.file",
     "upward"),
    (document(defaults={"temperature": 2.1}), "spec.defaults.temperature", "at most 2"),
    (document(defaults={"temperature": float("nan")}), "spec.defaults.temperature", "finite"),
    (document(defaults={"repeatPenalty": 0}), "spec.defaults.repeatPenalty", "more than 0"),
    (document(defaults={"seed": -1}), "spec.defaults.seed", "at least 0"),
    (document(loading={"idleTimeout": "10 minutes"}), "spec.loading.idleTimeout", "such as 30s, 5m"),
    (document(loading={"idleTimeout": 600}), "spec.loading.idleTimeout", "must be text; put it in quotes"),
    (document(loading={"policy": "Always"}), "spec.loading.policy", "'OnDemand', 'Preload', 'Pinned'"),
    (document(scaling={"minReplicas": 3, "maxReplicas": 2}), "spec.scaling", "minReplicas must not exceed"),
    (document(scaling={"maxReplicas": 0}), "spec.scaling.maxReplicas", "at least 1"),
    (document(aliases="gpt-4"), "spec.aliases", "must be a list"),
    (document(aliases=["a", "b/c"]), "spec.aliases[1]", "'/' is not allowed"),
    (document(aliases=["a", "a"]), "spec.aliases", "a is listed twice"),
    (document(aliases=[f"a{i}" for i in range(17)]), "spec.aliases", "at most 16 items"),
    (document(revisionHistoryLimit=-1), "spec.revisionHistoryLimit", "at least 0"),
    (document(replicas=1), "spec.replicas", "no such field"),
    ({**document(), "metadata": {}}, "metadata.name", "is required"),
    ({**document(), "metadata": {"name": "Gemma"}}, "metadata.name", "lower-case letters"),
    ({**document(), "metadata": {"name": "g" * 64}}, "metadata.name", "at most 63"),
    ({**document(), "kind": "Pod"}, "kind", "must be one of 'Model'"),
    ({**document(), "apiVersion": "v1"}, "apiVersion", "paddock.dev/v1alpha1"),
    ({key: value for key, value in document().items() if key != "kind"}, "kind", "is required; write kind: Model"),
    ({key: value for key, value in document().items() if key != "spec"}, "spec", "is required"),
]


@pytest.mark.parametrize(("bad", "path", "says"), BAD, ids=[f"{number}-{row[1]}" for number, row in enumerate(BAD)])
def test_a_bad_manifest_names_the_field_and_the_remedy(bad: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_model(bad)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert says in caught.value.problems[0].message
    assert caught.value.message == f"{path}: {caught.value.problems[0].message}"
    assert (caught.value.code, caught.value.param) == (Code.INVALID_SPEC, path)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_model(document(engine={"parallel": 0, "gpuLayers": "x"}, aliases=["-"]))
    assert [problem.path for problem in caught.value.problems] == \
        ["spec.engine.parallel", "spec.engine.gpuLayers", "spec.aliases[0]"]
    assert len(caught.value.message.splitlines()) == 3


@pytest.mark.parametrize("odd", [None, "text", 5, [], [document()]])
def test_what_is_no_mapping_is_refused(odd: Any) -> None:
    with pytest.raises(ManifestError, match="a manifest is a mapping"):
        parse_model(odd)


def test_a_document_that_holds_itself_is_refused() -> None:
    loop = document()
    loop["spec"]["engine"] = loop
    with pytest.raises(ManifestError, match="nested too deeply"):
        parse_model(loop)


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    bomb: list[Any] = ["x"] * 10
    for _ in range(12):
        bomb = [bomb] * 10
    with pytest.raises(ManifestError, match="more than 10000 values"):
        parse_model(document(aliases=bomb))


def test_a_field_name_cannot_forge_a_line_of_the_message() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_model(document(**{"x\nspec.ok: \x1b[31mforged": 1, "y" * 500: 1}))
    assert len(caught.value.message.splitlines()) == 2
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 700


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_model(document(engine={"type": "x" * 5000}))
    assert len(caught.value.message) < 200


def test_python_names_work_in_code_but_not_in_manifests() -> None:
    assert Model.model_validate({**document(), "spec": {**document()["spec"], "update_policy": "Pin"}}) is not None
    with pytest.raises(ManifestError, match="did you mean updatePolicy"):
        parse_model(document(update_policy="Pin"))
