"""A request's bytes to one JSON object, with every limit checked before the parser can be hurt by it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, NoReturn

import msgspec

from paddock_api.errors import Code, PaddockError

MAX_BODY_BYTES = 8 << 20
MAX_DEPTH = 128  # a JSON schema may nest 100 deep, and lies inside a few levels itself
MAX_CONTAINERS = 100_000  # objects and arrays: 64 bytes of memory each for 2 bytes of request
MAX_VALUES = 1_000_000

# One that does not end reaches to the end: else each quote inside would be tried as a beginning, over all the rest.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_STEP = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises PaddockError INVALID_REQUEST that says what is wrong and where."""
    _check_shape(body)
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _invalid(f"the body is not UTF-8 (byte {error.start}): send JSON encoded as UTF-8") from error
    except json.JSONDecodeError as error:
        raise _invalid(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # an integer of more than 4300 digits, or nested after all
        raise _invalid("the body is not usable JSON: a number is too long or it nests too deep") from error
    if not isinstance(value, dict):
        raise _invalid("the body must be a JSON object, such as {\"model\": \"…\"}")
    if _SURROGATE.search(body):
        _check_surrogates(value)
    return value


def fingerprint_bytes(value: dict[str, Any]) -> bytes:
    """The same bytes for the same content, whatever the order of keys."""
    return msgspec.json.encode(value, order="deterministic")


def _check_shape(body: bytes) -> None:
    """Depth and counts, read from the brackets and commas that are outside of strings."""
    skeleton = _STRING.sub(b"", body)
    brackets = skeleton.translate(None, _NOT_BRACKETS)
    if len(brackets) > 2 * MAX_CONTAINERS or skeleton.count(b",") > MAX_VALUES:
        raise _invalid(f"the body holds more than {MAX_CONTAINERS} objects and arrays or {MAX_VALUES} values: "
                       "send less in one request")
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise _invalid(f"the body nests deeper than {MAX_DEPTH} levels: flatten it")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        twice = _first_twice(name for name, _ in pairs)
        raise _invalid(f"{twice[:64]!r} is given twice in one object: keep one of them", param=twice[:64])
    return table


def _first_twice(names: Iterable[str]) -> str:
    """In one pass: to count each would take hours, for as many names as a body holds."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no name is there twice")


def _no_constant(name: str) -> NoReturn:
    raise _invalid(f"{name} is not a JSON number: leave the field out or give a finite number")


def _check_surrogates(value: dict[str, Any]) -> None:
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise _invalid("a string holds half of a surrogate pair (\\ud800…\\udfff): send whole characters") from error


def _invalid(message: str, *, param: str | None = None) -> PaddockError:
    return PaddockError(Code.INVALID_REQUEST, message, param=param)
