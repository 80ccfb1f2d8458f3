"""Whether a value is valid under a JSON Schema, of the keywords that bound a value by itself.

Every keyword that is not known is refused when the schema is written: one that is passed over would prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paddock_api.canonical import canonical_json
from paddock_api.patterns import Pattern

MAX_DEPTH = 16
_NOTES = frozenset({"$schema", "title", "description", "default", "examples"})
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _number(value),
    "integer": lambda value: _number(value) and float(value).is_integer(),
}


def check_schema(schema: Any, path: str = "schema", depth: int = 0) -> None:
    """Raises ValueError that names the place of what is wrong or not supported."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise ValueError(f"{path} must be an object, true or false")
    if depth > MAX_DEPTH:
        raise ValueError(f"{path} is nested deeper than {MAX_DEPTH}")
    for key, value in schema.items():
        if key in _NOTES:
            continue
        shape = _SHAPES.get(key)
        if shape is None:
            raise ValueError(f"{path}: the keyword {key!r} is not supported; known are {', '.join(sorted(_SHAPES))}")
        if not shape(value):
            raise ValueError(f"{path}.{key} has a value that this keyword can't have")
        if key == "pattern":
            Pattern(value)
    for place, inner in _inner(schema):
        check_schema(inner, f"{path}.{place}", depth + 1)


def problem(value: Any, schema: Any, path: str = "answer") -> str | None:
    """The first reason why `value` is not valid, with its place; None when it is. `schema` passed `check_schema`."""
    if isinstance(schema, bool):
        return None if schema else f"{path} must not be there"
    kinds = schema.get("type")
    if kinds is not None:
        wanted = [kinds] if isinstance(kinds, str) else kinds
        if not any(_TYPES[kind](value) for kind in wanted):
            return f"{path} is no {' or '.join(wanted)}"
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        return f"{path} is none of the values of enum"
    if "const" in schema and not _same(value, schema["const"]):
        return f"{path} is not the value of const"
    checks = (_number_problem, _string_problem, _array_problem, _object_problem, _combined_problem)
    return next((found for check in checks if (found := check(value, schema, path)) is not None), None)


def _number_problem(value: Any, schema: Mapping[str, Any], path: str) -> str | None:
    if not _number(value):
        return None
    bounds = {"minimum": lambda least: value >= least, "maximum": lambda most: value <= most,
              "exclusiveMinimum": lambda least: value > least, "exclusiveMaximum": lambda most: value < most}
    return _broken(bounds, schema, path)


def _string_problem(value: Any, schema: Mapping[str, Any], path: str) -> str | None:
    if not isinstance(value, str):
        return None
    return _broken({"minLength": lambda least: len(value) >= least, "maxLength": lambda most: len(value) <= most,
                    "pattern": lambda text: Pattern(text).found_in(value)}, schema, path)


def _array_problem(value: Any, schema: Mapping[str, Any], path: str) -> str | None:
    if not isinstance(value, list):
        return None
    found = _broken({"minItems": lambda least: len(value) >= least, "maxItems": lambda most: len(value) <= most},
                    schema, path)
    if found is None and "items" in schema:
        inner = (problem(item, schema["items"], f"{path}[{index}]") for index, item in enumerate(value))
        found = next((each for each in inner if each is not None), None)
    return found


def _object_problem(value: Any, schema: Mapping[str, Any], path: str) -> str | None:
    if not isinstance(value, dict):
        return None
    missing = next((name for name in schema.get("required", ()) if name not in value), None)
    if missing is not None:
        return f"{path} lacks {missing!r}"
    declared, further = schema.get("properties", {}), schema.get("additionalProperties", True)
    inner = (problem(item, declared.get(name, further), f"{path}.{name}") for name, item in value.items())
    return next((each for each in inner if each is not None), None)


def _combined_problem(value: Any, schema: Mapping[str, Any], path: str) -> str | None:
    for inner in schema.get("allOf", ()):
        if (found := problem(value, inner, path)) is not None:
            return found
    fitting = {keyword: sum(problem(value, each, path) is None for each in schema[keyword])
               for keyword in ("anyOf", "oneOf") if keyword in schema}
    if fitting.get("anyOf", 1) == 0:
        return f"{path} fits nothing of anyOf"
    if fitting.get("oneOf", 1) != 1:
        return f"{path} fits {fitting['oneOf']} of oneOf, not one"
    return None


def _broken(bounds: Mapping[str, Callable[[Any], bool]], schema: Mapping[str, Any], path: str) -> str | None:
    broken = next((key for key, holds in bounds.items() if key in schema and not holds(schema[key])), None)
    return None if broken is None else f"{path} breaks {broken} {schema[broken]}"


def _inner(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, inner in schema.get("properties", {}).items():
        yield f"properties.{name}", inner
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield keyword, schema[keyword]
    for keyword in ("anyOf", "oneOf", "allOf"):
        for index, inner in enumerate(schema.get(keyword, ())):
            yield f"{keyword}[{index}]", inner


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _same(one: Any, other: Any) -> bool:
    """As JSON sees it: 1 is 1.0, and true is not 1."""
    return canonical_json(one) == canonical_json(other)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _kinds(value: Any) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return bool(kinds) and all(isinstance(kind, str) and kind in _TYPES for kind in kinds)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _schema(value: Any) -> bool:
    return isinstance(value, Mapping | bool)


_SHAPES: dict[str, Callable[[Any], bool]] = {
    "type": _kinds, "enum": _list, "const": lambda value: True, "required": _names, "pattern": _TYPES["string"],
    "properties": _TYPES["object"], "additionalProperties": _schema, "items": _schema,
    "anyOf": _list, "oneOf": _list, "allOf": _list,
    **dict.fromkeys(("minItems", "maxItems", "minLength", "maxLength"), _count),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _number),
}
