"""Values for every field of a resource, made from its type and schema: a field that is added is covered by itself.

For each field: its empty value (0, false, "", [], {}) where the schema allows it, its limits, and another one; each as
part of the smallest valid document that holds it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from paddock_api.crd import field_schema

# Of these, every text that a pattern and the lengths allow is tried.
_TEXTS = ("x", "é \"'\n\t{{ x }}", "10m", "a" * 64, "o/r", "https://h.example/x", "2026-11-22T10:00:00Z")
_AMOUNTS = ("512Mi", "25%", 0, 1, 2**33, "1.5", "0")
_KEY = "memory"  # for maps: a label, an annotation and a resource can have this name
_FREE = {"any": [{"thing": 0}], "kept": False}
_SCHEMA = {"enum": [{"thing": 0}], "additionalProperties": False}  # of what is free, a JSON Schema has rules of its own

Path = tuple[str, ...]


class Sample(NamedTuple):
    """A value, and what it shows: (path below it, the word for what stands there)."""

    value: Any
    shows: frozenset[tuple[Path, str]]


def word(value: Any) -> str:
    """An empty value by itself, all others as one."""
    return repr(value) if value in (0, "", [], {}) else "another"


def documents(kind: type[BaseModel], schema: Mapping[str, Any] | None = None) -> list[Sample]:
    """Valid documents of `kind` that together show every field with each of its sample values."""
    properties = (schema or field_schema(kind))["properties"]
    annotations = {info.alias or name: info.annotation for name, info in kind.model_fields.items()}
    values = {name: _values(part, annotations[name]) for name, part in properties.items()}
    return [whole for name in properties for value in values[name]
            for whole in _completed(kind, name, value, values)]


def wanted(schema: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, str]]:
    """What documents must show: each field with another value, and with its empty one where the schema allows it."""
    for name, part in schema.get("properties", {}).items():
        here = (*path, name)
        yield here, "another"
        for empty in _empty(part):
            yield here, word(empty)
        yield from wanted(part.get("items", part), (*here, "[]") if "items" in part else here)


def _empty(schema: Mapping[str, Any]) -> list[Any]:
    if "enum" in schema:
        return []
    kind = schema.get("type", "amount")
    if kind in ("integer", "number", "amount"):
        least, most = schema.get("minimum", 0), schema.get("maximum", 0)
        return [0] if least <= 0 <= most and not (least == 0 and schema.get("exclusiveMinimum")) else []
    if kind == "array":
        return [] if schema.get("minItems") else [[]]
    if kind == "object":
        return [] if schema.get("required") else [{}]
    if kind == "boolean":
        return [False]
    return [text for text in [""] if _fits(text, schema)]


def _completed(
    kind: type[BaseModel], field: str, value: Sample, values: Mapping[str, list[Sample]]
) -> Iterator[Sample]:
    """The smallest valid document with this field: rules may ask for others beside it. None if nothing helps."""
    required = {info.alias or name: values[info.alias or name][0].value
                for name, info in kind.model_fields.items() if info.is_required()}
    others = [(name, sample.value) for name, samples in values.items() if name != field
              for sample in samples[:4]]
    for size in range(3):
        for more in itertools.combinations(others, size):
            document = {**required, **dict(more), field: value.value}
            if _valid(kind, document):
                below = {((field, *path), what) for path, what in value.shows}
                yield Sample(document, frozenset(below | {((field,), word(value.value))}))
                return


def _valid(kind: type[BaseModel], document: Mapping[str, Any]) -> bool:
    try:
        kind.model_validate(document)
    except ValidationError:
        return False
    return True


def _values(schema: Mapping[str, Any], annotation: Any) -> list[Sample]:
    empty, kind = _empty(schema), schema.get("type", "amount")
    if "enum" in schema:
        found = list(schema["enum"])
    elif kind == "object" and "properties" in schema:
        inner = _model_in(annotation)
        assert inner is not None
        valid = [Sample({}, frozenset())] if _valid(inner, {}) else []
        return [*documents(inner, schema), *valid]
    elif kind == "object":
        free = [Sample(_FREE, frozenset()), Sample(_SCHEMA, frozenset())]
        values = free if "additionalProperties" not in schema else [
            Sample({_KEY: item.value}, frozenset()) for item in _values(schema["additionalProperties"], annotation)]
        return [*values, Sample({}, frozenset())]
    elif kind == "array":
        items = [Sample([item.value], frozenset(((("[]", *path), what) for path, what in item.shows)))
                 for item in _values(schema["items"], annotation)]
        return [*items, *(Sample(value, frozenset()) for value in empty)]
    elif kind == "boolean":
        found = [True, False]
    elif kind == "string":
        found = [text for text in ("", *_TEXTS) if _fits(text, schema)]
    elif kind == "amount":
        found = [amount for amount in _AMOUNTS
                 if (amount >= schema["minimum"] if isinstance(amount, int) else _fits(amount, schema))]
    else:
        found = _numbers(schema)
    return [Sample(value, frozenset()) for value in found]


def _numbers(schema: Mapping[str, Any]) -> list[Any]:
    low, high = schema.get("minimum", -10), schema.get("maximum", 2**40)
    if schema["type"] == "number":
        inside = round(low + (high - low) / 3, 3)
        return [inside, *(end for end in (low, high) if not schema.get("exclusiveMinimum") or end != low),
                *_empty(schema)]
    return [high, low, *_empty(schema)]


def _fits(text: str, schema: Mapping[str, Any]) -> bool:
    if schema.get("format") == "date-time":
        return text.endswith("Z") and len(text) > 1
    return schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 1 << 20) \
        and ("pattern" not in schema or re.fullmatch(schema["pattern"], text, re.ASCII) is not None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_model_in, get_args(annotation)) if found is not None), None)


def part_type(resource: type[BaseModel], part: str) -> type[BaseModel]:
    """The type of a resource's spec or status."""
    found = _model_in(resource.model_fields[part].annotation)
    assert found is not None
    return found
