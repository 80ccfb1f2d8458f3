"""One manifest document → a resource, or every fault of it in the words of the person who wrote it."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from paddock_api.errors import Code, PaddockError
from paddock_api.fields import PATTERN_HELP
from paddock_api.metadata import API_VERSION
from paddock_api.model import Model

MAX_PROBLEMS = 20
MAX_VALUES = 10_000
_MAX_SHOWN = 60

Resource = TypeVar("Resource", bound=BaseModel)


class Problem(NamedTuple):
    """`path` as typed in the manifest (`spec.engine.contextLength`), `message` with the remedy."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ManifestError(PaddockError):
    """A manifest that cannot be accepted: all its problems, in order of the document."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        shown = "\n".join(str(problem) for problem in problems[:MAX_PROBLEMS])
        if len(problems) > MAX_PROBLEMS:
            shown += f"\n(and {len(problems) - MAX_PROBLEMS} more)"
        super().__init__(Code.INVALID_SPEC, shown, param=problems[0].path or None)
        self.problems = tuple(problems)


def parse_model(document: Mapping[str, Any], *, namespace: str = "default", with_status: bool = False) -> Model:
    """The Model in one parsed YAML or JSON document, as `parse` reads it. Raises ManifestError."""
    return parse(Model, document, namespace=namespace, with_status=with_status)


def parse(
    kind: type[Resource], document: Mapping[str, Any], *, namespace: str = "default", with_status: bool = False
) -> Resource:
    """The resource in one parsed YAML or JSON document. Raises ManifestError.

    `namespace` is for a document that names none. As the API server does, types are taken strictly ("2048" is not
    2048), null means not set, and the status is left out unless asked for.
    """
    text = _as_json(_complete(kind.__name__, document, namespace, with_status))
    try:
        return kind.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        raise ManifestError([_problem(kind, detail["loc"], detail) for detail in details]) from None


def _complete(wanted: str, document: Mapping[str, Any], namespace: str, with_status: bool) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        raise ManifestError([Problem("", f"a manifest is a mapping, this is {_shown(document)}")])
    kind, version = document.get("kind"), document.get("apiVersion")
    missing = [Problem(name, f"is required; write {name}: {right}")
               for name, value, right in (("apiVersion", version, API_VERSION), ("kind", kind, wanted))
               if value is None]
    if missing:
        raise ManifestError(missing)
    whole = {key: value for key, value in document.items() if with_status or key != "status"}
    metadata = whole.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("namespace") is None:
        whole["metadata"] = {**metadata, "namespace": namespace}
    return whole


def _as_json(document: Any) -> str:
    try:
        return json.dumps(_without_nulls(document, itertools.count()), default=str)
    except RecursionError:
        raise ManifestError([Problem("", "is nested too deeply, or refers to itself")]) from None
    except (TypeError, ValueError) as error:
        raise ManifestError([Problem("", f"cannot be read: {error}")]) from None


def _without_nulls(value: Any, seen: Iterator[int]) -> Any:
    # YAML's aliases let a kilobyte stand for gigabytes: count what is really there.
    if next(seen) > MAX_VALUES:
        raise ValueError(f"it holds more than {MAX_VALUES} values")
    if isinstance(value, Mapping):
        return {key: _without_nulls(item, seen) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item, seen) for item in value]
    return value


def _path(loc: Iterable[int | str]) -> str:
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        name = part if part.isprintable() and len(part) <= _MAX_SHOWN else _shown(part)
        path += f".{name}" if path else name
    return path


def _problem(resource: type[BaseModel], loc: tuple[int | str, ...], detail: Any) -> Problem:
    kind, context, given = detail["type"], detail.get("ctx", {}), detail.get("input")
    path = _path(loc)
    if kind == "extra_forbidden":
        return Problem(path, _unknown_field(resource, loc))
    if kind == "missing":
        return Problem(path, "is required; add it")
    if kind == "value_error":
        message = str(context.get("error", detail["msg"]))
        inner, colon, rest = message.partition(": ")
        # A rule of a whole object may say which of its fields is at fault.
        if colon and inner.split(".")[0] in _fields_at(resource, loc):
            return Problem(f"{path}.{inner}" if path else inner, rest)
        return Problem(path, message)
    return Problem(path, f"{_wrong_value(kind, context, detail)} (it is {_shown(given)})")


def _wrong_value(kind: str, context: Mapping[str, Any], detail: Any) -> str:
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return PATTERN_HELP.get(pattern, f"must match {pattern}")
    if kind in ("enum", "literal_error"):
        return f"must be one of {str(context['expected']).replace(' or ', ', ')}, written like this"
    simple = {
        "int_type": "must be a whole number, without quotes", "int_from_float": "must be a whole number",
        "float_type": "must be a number, without quotes", "bool_type": "must be true or false, without quotes",
        "string_type": "must be text; put it in quotes", "list_type": "must be a list",
        "model_type": "must be a mapping of fields", "dict_type": "must be a mapping",
        "finite_number": "must be a finite number",
    }
    limits = {
        "greater_than_equal": ("must be at least {}", "ge"), "less_than_equal": ("must be at most {}", "le"),
        "greater_than": ("must be more than {}", "gt"), "less_than": ("must be less than {}", "lt"),
        "string_too_short": ("must have at least {} characters", "min_length"),
        "string_too_long": ("must have at most {} characters", "max_length"),
        "too_long": ("must have at most {} items", "max_length"),
        "too_short": ("must have at least {} items", "min_length"),
    }
    if kind in limits:
        text, key = limits[kind]
        return text.format(context[key])
    return simple.get(kind, str(detail["msg"]))


def _unknown_field(resource: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    known = _fields_at(resource, loc[:-1])
    close = difflib.get_close_matches(_squash(str(loc[-1])), {_squash(name): name for name in known}, n=1, cutoff=0.6)
    meant = next((name for name in known if close and _squash(name) == close[0]), None)
    if meant is not None:
        return f"no such field; did you mean {meant}?"
    return f"no such field; remove it (known here: {', '.join(sorted(known)) or 'none'})"


def _squash(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _fields_at(resource: type[BaseModel], loc: Iterable[int | str]) -> list[str]:
    """The names, as typed, of the fields of the object at `loc`."""
    here: type[BaseModel] | None = resource
    for part in loc:
        if here is None or isinstance(part, int):
            continue
        field = next((field for name, field in here.model_fields.items() if (field.alias or name) == part), None)
        here = _model_in(field.annotation) if field is not None else None
    return [] if here is None else [field.alias or name for name, field in here.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_model_in, get_args(annotation)) if found is not None), None)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
