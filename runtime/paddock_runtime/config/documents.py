"""The documents of one YAML or JSON file, from people or machines that may make mistakes or mean harm. Pure."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import yaml

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 100
# Of all documents of a file, with aliases written out; without aliases a file can't come near it.
MAX_EXPANDED = 4 << 20

# libyaml when PyYAML was built with it: ten times as fast, same results.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Unreadable(Exception):
    """The file can't be read; `document` counts from 1, None when it is not known which one is at fault."""

    def __init__(self, message: str, document: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.document = document


def parse(data: bytes, *, is_json: bool) -> list[Any]:
    """The file's documents in order, empty ones as None. Raises Unreadable."""
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable(f"the file is larger than {MAX_FILE_BYTES} bytes: split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    if not text.strip():
        # More likely somebody is writing it than that all its Models should go.
        raise Unreadable("the file is empty: write a manifest or delete the file")
    documents = [_json(text)] if is_json else _yaml(text)
    _check_expansion(documents)
    return documents


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Unreadable(f"it is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})", 1) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply", 1) from None
    except ValueError as error:
        raise Unreadable(str(error), 1) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} is there twice: remove one")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number that JSON knows")


class _Loader(_Base):  # type: ignore[misc]
    """As Kubernetes reads YAML: dates stay text, keys are text and unique."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML declares it so)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {str(name)[:60]!r} is not text: quote it",
                                                        key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name[:60]!r} is there twice: remove one",
                                                        key.start_mark)
            seen.add(name)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


def _yaml(text: str) -> list[Any]:
    documents: list[Any] = []
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            while loader.check_data():
                documents.append(loader.get_data())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise Unreadable(f"it is not valid YAML: {error.problem or error.context}{place}", len(documents) + 1) from None
    except yaml.reader.ReaderError as error:
        raise Unreadable(f"it is not valid YAML: {error.reason} (character {error.position})") from None
    except RecursionError:
        raise Unreadable("it is nested too deeply", len(documents) + 1) from None
    except (ValueError, LookupError, AttributeError, TypeError):
        # PyYAML lets some of these out for values that do not fit their tag, such as `!!int x`.
        raise Unreadable("a value does not fit its YAML tag: remove the tag or quote the value",
                         len(documents) + 1) from None
    return documents


def _check_depth(text: str) -> None:
    """Before anything recursive sees the text."""
    depth = number = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.DocumentStartEvent):
            number += 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable(f"it is nested more than {MAX_DEPTH} deep", number)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_expansion(documents: list[Any]) -> None:
    """Aliases make small files large and flat ones deep: measure that before anybody walks through it."""
    left = MAX_EXPANDED
    for number, document in enumerate(documents, start=1):
        try:
            size, height = _measure(document, {})
        except RecursionError:
            raise Unreadable("its aliases are nested too deeply", number) from None
        except Unreadable as error:
            raise Unreadable(error.message, number) from None
        left -= size
        if left < 0:
            raise Unreadable(f"with its aliases written out it is larger than {MAX_EXPANDED} characters", number)
        if height > 2 * MAX_DEPTH:
            raise Unreadable("its aliases are nested too deeply", number)


def _measure(value: Any, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Size and height with aliases written out; `known` holds what was measured, None while it is being measured."""
    if not isinstance(value, dict | list):
        return 1 + (len(value) if isinstance(value, str | bytes) else 0), 0
    if id(value) in known:
        done = known[id(value)]
        if done is None:
            raise Unreadable("an alias stands for something that holds it")
        return done
    known[id(value)] = None
    items = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
    parts = [_measure(item, known) for item in items]
    measured = (1 + sum(size for size, _ in parts), 1 + max((height for _, height in parts), default=0))
    known[id(value)] = measured
    return measured
