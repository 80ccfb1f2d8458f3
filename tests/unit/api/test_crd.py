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

from paddock_api.crd import KINDS, Kind, definition, field_schema, structural_schema
from paddock_api.fields import Spec
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
    for path, text in generate.generated().items():
        if path.suffix == ".yaml":
            assert yaml.safe_load(text) == definition(KINDS[0])


def test_drift_is_seen(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "HEADER", "# another\n")
    assert [path.name for path in generate.drifted()] == ["model.yaml"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_schema_is_structural(kind: Kind) -> None:
    nodes = list(walk(structural_schema(kind.type)))
    assert len(nodes) > 80
    for path, node in nodes:
        assert not FORBIDDEN & set(node), path
        assert "default" not in node, f"{path}: a default would be written into objects and change what was set"
        assert node.get("type") in {*SCALARS, "object", "array"}, path
        assert ("items" in node) == (node["type"] == "array"), path
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
        if path.startswith(".spec") and node["type"] == "string" and "enum" not in node:
            assert "maxLength" in node, f"{path}: unbounded text breaks the CEL cost budget"
        if node["type"] == "array":
            assert "maxItems" in node, path


def test_defaults_are_told_where_they_matter() -> None:
    spec = structural_schema(Model)["properties"]["spec"]["properties"]
    assert spec["loading"]["properties"]["idleTimeout"]["description"].endswith("Default: 10m.")
    assert spec["engine"]["properties"]["gpuLayers"]["description"].endswith("Default: 0.")
    assert spec["engine"]["properties"]["embeddings"]["description"].endswith("Default: false.")
    assert "Default" not in spec["defaults"]["properties"]["temperature"]["description"]


def _spec_types(kind: type[Spec]) -> set[type[Spec]]:
    return {kind}.union(*(_spec_types(inner) for inner in kind.__subclasses__()))


def test_every_rule_of_the_types_is_in_the_schema_wherever_its_type_is_used() -> None:
    in_schema = [rule["rule"] for _, node in walk(structural_schema(Model))
                 for rule in node.get("x-kubernetes-validations", ())]
    from_types = {rule for kind in _spec_types(Spec) if kind.__module__.startswith("paddock_api")
                  for rule, _ in kind.rules}
    assert set(in_schema) == from_types
    exactly_one = next(rule for rule in from_types if "has(self.hub)" in rule)
    assert in_schema.count(exactly_one) == 2, "the model's source and an adapter's"


def test_rules_name_only_fields_that_exist_and_have_a_remedy() -> None:
    for path, node in walk(structural_schema(Model)):
        for rule in node.get("x-kubernetes-validations", ()):
            named = set(re.findall(r"self\.(\w+)", rule["rule"]))
            assert named <= set(node["properties"]), path
            assert len(rule["message"]) > 20


def test_lists_merge_as_kubernetes_expects() -> None:
    schema = structural_schema(Model)["properties"]
    conditions = schema["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    assert set(conditions["items"]["required"]) >= {"type", "status", "reason", "lastTransitionTime"}
    assert schema["spec"]["properties"]["aliases"]["x-kubernetes-list-type"] == "set"


def test_printer_columns_and_names() -> None:
    crd = definition(KINDS[0])
    version = crd["spec"]["versions"][0]
    assert crd["metadata"]["name"] == "models.paddock.dev"
    assert crd["spec"]["names"]["categories"] == ["paddock"]
    assert version["subresources"] == {"status": {}}
    shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Ready", "Loaded", "Replicas", "Quant", "Last-Used", "Age"]
    known = {path for path, _ in walk(structural_schema(Model))}
    for column in version["additionalPrinterColumns"]:
        plain = re.sub(r"\[\?.*?\]", "[]", column["jsonPath"])
        assert plain in known or plain.startswith(".metadata."), column


class Quantity(Spec):
    """A type with everything that later kinds need."""

    memory: Annotated[int | str, Field(description="Bytes.", json_schema_extra={
        "x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]})]
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=8, default_factory=dict)]
    template: dict[str, Any] | None = None
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


def test_int_or_string_maps_free_forms_and_open_bounds() -> None:
    properties = field_schema(Quantity)["properties"]
    assert properties["memory"] == {"x-kubernetes-int-or-string": True, "description": "Bytes."}
    assert properties["labels"] == {"type": "object", "maxProperties": 8,
                                    "additionalProperties": {"type": "string", "maxLength": 63}}
    assert properties["template"] == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert properties["share"] == {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1,
                                   "exclusiveMaximum": True, "description": "Default: 0.5."}


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

        spec: Annotated[Quantity, Field(description="What is wanted.")]

    Gadget.model_rebuild()
    kind = Kind(type=Gadget, plural="gadgets", short_names=(), columns=(),
                scale={"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"})
    crd = definition(kind)
    assert crd["metadata"]["name"] == "gadgets.paddock.dev"
    assert crd["spec"]["versions"][0]["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"
