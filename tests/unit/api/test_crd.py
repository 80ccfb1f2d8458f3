"""The CRD is what the types say, and what an API server takes: its rules for structural schemas, run over the tree."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field

from paddock_api.crd import definition, field_schema, structural_schema
from paddock_api.fields import Spec
from paddock_api.kinds import KINDS, MODEL, MODEL_HUB, RUNTIME_POOL, Kind
from paddock_api.model import Model

ROOT = Path(__file__).resolve().parents[3]
FORBIDDEN = {"$ref", "anyOf", "oneOf", "allOf", "not", "title", "const", "definitions", "nullable"}
SCALARS = {"string", "integer", "number", "boolean"}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "crds" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from walk(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from walk(schema[key], f"{path}[]")


def test_generated_files_do_not_drift(generate: ModuleType) -> None:
    assert generate.drifted() == [], "run make crds"
    assert generate.generated() == generate.generated()
    crds = {path.name: yaml.safe_load(text) for path, text in generate.generated().items() if path.suffix == ".yaml"}
    names = {name: kind for kind in KINDS for name in (kind.name.lower(), f"{kind.plural}.paddock.dev")}
    assert crds == {f"{name}.yaml": definition(kind) for name, kind in names.items()}


def test_drift_is_seen(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "HEADER", "# another\n")
    assert [path.name for path in generate.drifted()] == [
        "model.yaml", "models.paddock.dev.yaml", "runtimepool.yaml", "runtimepools.paddock.dev.yaml", "modelhub.yaml",
        "modelhubs.paddock.dev.yaml"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_schema_is_structural(kind: Kind) -> None:
    nodes = list(walk(structural_schema(kind.type)))
    assert len(nodes) > 80
    for path, node in nodes:
        assert not FORBIDDEN & set(node), path
        assert "default" not in node, f"{path}: a default would be written into objects and change what was set"
        assert ("type" in node) != node.get("x-kubernetes-int-or-string", False), path
        assert node.get("type", "string") in {*SCALARS, "object", "array"}, path
        assert ("items" in node) == (node.get("type") == "array"), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert set(node.get("required", ())) <= set(node.get("properties", ())), path
        assert not isinstance(node.get("exclusiveMinimum"), float | int) or node["exclusiveMinimum"] is True, path
        assert len(node.get("enum", [""])) == len(set(node.get("enum", [""]))), path
        if "pattern" in node:
            assert not re.search(r"\(\?[=!<]|\\\d", node["pattern"]), f"{path}: RE2 has no look-around, no references"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_everything_is_described_and_bounded(kind: Kind) -> None:
    for path, node in walk(structural_schema(kind.type)):
        if path.endswith("[]") or path in ("", ".metadata"):
            continue
        text = node.get("description", "")
        assert len(text) >= 12, f"{path}: kubectl explain has nothing to say"
        assert text.endswith("."), path
        if node.get("type", "string") == "string" and "enum" not in node and not path.startswith(".status"):
            assert "maxLength" in node or path in (".apiVersion", ".kind"), f"{path}: unbounded text costs CEL too much"
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_defaults_are_told_where_they_matter() -> None:
    spec = structural_schema(Model)["properties"]["spec"]["properties"]
    assert spec["loading"]["properties"]["idleTimeout"]["description"].endswith("Default: 10m.")
    assert spec["engine"]["properties"]["gpuLayers"]["description"].endswith("Default: 0.")
    assert spec["engine"]["properties"]["embeddings"]["description"].endswith("Default: false.")
    assert "Default" not in spec["defaults"]["properties"]["temperature"]["description"]


def _spec_types(kind: type[Spec]) -> set[type[Spec]]:
    return {kind}.union(*(_spec_types(inner) for inner in kind.__subclasses__()))


def test_every_rule_of_the_types_is_in_the_schema_wherever_its_type_is_used() -> None:
    in_schema = [rule["rule"] for kind in KINDS for _, node in walk(structural_schema(kind.type))
                 for rule in node.get("x-kubernetes-validations", ())]
    from_types = {rule for kind in _spec_types(Spec) if kind.__module__.startswith("paddock_api")
                  for rule, _ in (*kind.rules, *kind.transition_rules)}
    of_maps = {rule for rule in in_schema if rule.startswith("self.all(key, ")}
    assert set(in_schema) - of_maps == from_types
    assert len(of_maps) == 1
    assert sum(rule in of_maps for rule in in_schema) == 8, "node selector, labels, annotations, resources"
    exactly_one = next(rule for rule in from_types if "has(self.hub)" in rule)
    assert in_schema.count(exactly_one) == 3, "the model's source, an adapter's, and an adapter's in a hub's template"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_rules_name_only_fields_that_exist_and_have_a_remedy(kind: Kind) -> None:
    known = {path for path, _ in walk(structural_schema(kind.type))}
    for path, node in walk(structural_schema(kind.type)):
        for rule in node.get("x-kubernetes-validations", ()):
            named = set(re.findall(r"self\.(\w+)", rule["rule"], re.IGNORECASE))
            assert named <= {*node.get("properties", ()), "all"}, path
            assert len(rule["message"]) > 20
            assert f"{path}{rule.get('fieldPath', '')}" in known, "an API server refuses the CRD"


def test_lists_merge_as_kubernetes_expects() -> None:
    schema = structural_schema(Model)["properties"]
    conditions = schema["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    assert set(conditions["items"]["required"]) >= {"type", "status", "reason", "lastTransitionTime"}
    assert schema["spec"]["properties"]["aliases"]["x-kubernetes-list-type"] == "set"


@pytest.mark.parametrize(("kind", "subresources", "shown"), [
    (MODEL, {"status"}, ["Ready", "Loaded", "Replicas", "Quant", "Last-Used", "Age"]),
    (RUNTIME_POOL, {"status", "scale"}, ["Ready", "Pods", "Wanted", "Memory", "Models", "Age"]),
    (MODEL_HUB, {"status"}, ["Ready", "Stale", "Entries", "Models", "Last-Sync", "Age"]),
], ids=lambda value: value.name if isinstance(value, Kind) else None)
def test_names_subresources_and_columns(kind: Kind, subresources: set[str], shown: list[str]) -> None:
    crd = definition(kind)
    version = crd["spec"]["versions"][0]
    assert crd["metadata"]["name"] == f"{kind.plural}.paddock.dev"
    assert crd["spec"]["names"]["categories"] == ["paddock"]
    assert set(version["subresources"]) == subresources
    assert [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")] == shown
    known = {path for path, _ in walk(structural_schema(kind.type))}
    for column in version["additionalPrinterColumns"]:
        plain = re.sub(r"\[\?.*?\]", "[]", column["jsonPath"])
        assert plain in known or plain.startswith(".metadata."), column
    for path in version["subresources"].get("scale", {}).values():
        assert path in known


def test_short_names_are_the_kinds_own() -> None:
    assert [kind.short_names for kind in KINDS] == [("mdl",), ("rtp",), ("mhub",)]


class Everything(Spec):
    """A type with everything that later kinds need."""

    memory: Annotated[int | str, Field(description="Bytes.", json_schema_extra={
        "x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]})]
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=8, default_factory=dict)]
    template: dict[str, Any] | None = None
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


def test_int_or_string_maps_free_forms_and_open_bounds() -> None:
    properties = field_schema(Everything)["properties"]
    assert properties["memory"] == {"x-kubernetes-int-or-string": True, "description": "Bytes."}
    assert properties["labels"] == {"type": "object", "maxProperties": 8,
                                    "additionalProperties": {"type": "string", "maxLength": 63}}
    assert properties["template"] == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert properties["share"] == {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1,
                                   "exclusiveMaximum": True, "description": "Default: 0.5."}


def test_a_rule_on_a_change_is_a_rule_too() -> None:
    class Fixed(Spec):
        """Set once."""

        rules = (("self.size > 0", "size: give more than 0"),)
        transition_rules = (("self.size == oldSelf.size", "size: can't be changed later"),)

        size: Annotated[int, Field(description="A size.")]

    assert [rule["rule"] for rule in field_schema(Fixed)["x-kubernetes-validations"]] == [
        "self.size > 0", "self.size == oldSelf.size"]


def test_a_rule_about_one_field_is_reported_there() -> None:
    rules = structural_schema(RUNTIME_POOL.type)["properties"]["spec"]["x-kubernetes-validations"]
    paths = {rule["message"].split(",")[0]: rule.get("fieldPath") for rule in rules}
    assert paths["give more than 0"] == ".disk"
    assert paths["can't be added"] == ".cache.volumeClaimTemplate"
    assert paths["resources.limits.memory: give more than spec.memory"] is None, "a key of a map has no path"


def test_what_has_no_structural_schema_is_refused() -> None:
    class Union(BaseModel):
        either: int | str

    class Anything(BaseModel):
        any: Any

    with pytest.raises(ValueError, match="a union of types"):
        field_schema(Union)
    with pytest.raises(ValueError, match="no structural schema"):
        field_schema(Anything)


def test_another_kind_comes_as_data() -> None:
    class Gadget(Spec):
        """A gadget."""

        spec: Annotated[Everything, Field(description="What is wanted.")]

    Gadget.model_rebuild()
    kind = Kind(type=Gadget, plural="gadgets", short_names=(), columns=(),
                scale={"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"})
    crd = definition(kind)
    assert crd["metadata"]["name"] == "gadgets.paddock.dev"
    assert crd["spec"]["versions"][0]["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"
