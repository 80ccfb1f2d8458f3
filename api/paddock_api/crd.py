"""Custom resource definitions from the pydantic types: structural schemas with CEL, kept as data.

No schema carries `default:`. The API server would write it into every object, and then nobody could tell a field
that a user set from one that a release filled in; revisions hash only what was set. Defaults stand in descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from paddock_api.fields import Spec
from paddock_api.kinds import Column, Kind
from paddock_api.metadata import GROUP, VERSION

_KEPT = ("type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems",
         "minProperties", "maxProperties", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
         "x-kubernetes-map-type", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
         "x-kubernetes-validations")


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of `kind`, ready to be written as YAML."""
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale:
        subresources["scale"] = dict(kind.scale)
    singular = kind.name.lower()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"kind": kind.name, "listKind": f"{kind.name}List", "plural": kind.plural, "singular": singular,
                      "shortNames": list(kind.short_names), "categories": ["paddock"]},
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION, "served": True, "storage": True,
                "schema": {"openAPIV3Schema": structural_schema(kind.type)},
                "subresources": subresources,
                "additionalPrinterColumns": [_column(column) for column in kind.columns],
            }],
        },
    }


def structural_schema(resource: type[BaseModel]) -> dict[str, Any]:
    """The whole resource's schema, as the API server wants it. Raises ValueError for what it can't express."""
    document = resource.model_json_schema(by_alias=True)
    document = {**document, "properties": {**document["properties"], "metadata": {"type": "object"}}}
    schema = _convert(document, document.get("$defs", {}), with_defaults=False)
    _add_rules(schema, resource)
    for name, text in (
        ("apiVersion", "Version of this resource's schema."), ("kind", "The kind of this resource."),
    ):
        schema["properties"][name] = {"type": "string", "description": text}
    schema["properties"]["metadata"] = {"type": "object"}
    spec = resource.model_fields["spec"].annotation
    schema["properties"]["spec"] = field_schema(spec) | {"description": schema["properties"]["spec"]["description"]}
    schema["required"] = ["spec"]
    return schema


def field_schema(resource: Any) -> dict[str, Any]:
    """The schema of one type below a resource, with defaults named in descriptions and the types' CEL rules."""
    document = resource.model_json_schema(by_alias=True)
    schema = _convert(document, document.get("$defs", {}), with_defaults=True)
    _add_rules(schema, resource)
    return schema


def _convert(schema: Mapping[str, Any], defs: Mapping[str, Any], *, with_defaults: bool) -> dict[str, Any]:
    """Inline references, drop null and titles, keep what structural schemas know."""
    schema = _resolved(schema, defs)
    kept: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if "const" in schema:
        kept["enum"] = [schema["const"]]
    for bound, flag in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in schema:
            kept |= {flag: schema[bound], bound: True}
    description = _description(schema, with_defaults)
    if description:
        kept["description"] = description
    if kept.get("x-kubernetes-int-or-string"):
        kept.pop("type", None)
    elif "type" not in kept:
        raise ValueError(f"no structural schema for {dict(schema)!r}")
    if "items" in schema:
        kept["items"] = _convert(schema["items"], defs, with_defaults=with_defaults)
    if kept.get("type") == "object":
        kept |= _object(schema, defs, with_defaults)
    return kept


def _object(schema: Mapping[str, Any], defs: Mapping[str, Any], with_defaults: bool) -> dict[str, Any]:
    if "properties" in schema:
        properties = {name: _convert(part, defs, with_defaults=with_defaults)
                      for name, part in schema["properties"].items()}
        required = {"required": list(schema["required"])} if schema.get("required") else {}
        return {"properties": properties, **required}
    values = schema.get("additionalProperties", True)
    if isinstance(values, Mapping) and values:
        return {"additionalProperties": _convert(values, defs, with_defaults=with_defaults)}
    if values is False:
        return {}
    return {"x-kubernetes-preserve-unknown-fields": True}


def _resolved(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """Without `$ref` and without `anyOf … null`; what stands beside them wins."""
    outer = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "allOf")}
    inner: Mapping[str, Any] = {}
    if "$ref" in schema:
        inner = defs[schema["$ref"].rsplit("/", 1)[1]]
    elif "anyOf" in schema and not schema.get("x-kubernetes-int-or-string"):
        options = [option for option in schema["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            raise ValueError(f"a union of types has no structural schema: {schema['anyOf']!r}")
        inner = options[0]
    if not inner:
        return outer
    return {**_resolved(inner, defs), **outer}


def _description(schema: Mapping[str, Any], with_defaults: bool) -> str:
    text = " ".join(str(schema.get("description", "")).split())
    default = schema.get("default")
    if not with_defaults or default is None or default in ([], {}) or isinstance(default, Mapping):
        return text
    shown = default
    if isinstance(default, bool):
        shown = str(default).lower()
    elif isinstance(default, float):
        shown = f"{default:g}"
    return f"{text} Default: {shown}.".lstrip()


def _add_rules(schema: dict[str, Any], resource: Any) -> None:
    """Give each object its type's CEL rules. Walks types and schema side by side."""
    if issubclass(resource, Spec) and (resource.rules or resource.transition_rules):
        schema["x-kubernetes-validations"] = [_rule(rule, text, schema)
                                              for rule, text in (*resource.rules, *resource.transition_rules)]
    for name, info in resource.model_fields.items():
        part = schema["properties"].get(info.alias or name)
        inner = _model_in(info.annotation)
        if part is None or inner is None or "properties" not in part.get("items", part):
            continue
        _add_rules(part.get("items", part), inner)


def _rule(rule: str, text: str, schema: Mapping[str, Any]) -> dict[str, str]:
    """A message that begins with a field of the object is reported at that field."""
    field, colon, rest = text.partition(": ")
    here: Any = schema
    for name in field.split("."):
        here = here.get("properties", {}).get(name)
        if not colon or here is None:
            return {"rule": rule, "message": text}
    return {"rule": rule, "message": rest, "fieldPath": f".{field}"}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_model_in, get_args(annotation)) if found is not None), None)


def _column(column: Column) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.priority:
        shown["priority"] = column.priority
    if column.description:
        shown["description"] = column.description
    return shown
