"""Whether an object must be written: some field that is wanted differs, or one that was wanted before is not any more.

The API server adds defaults and writes amounts in its own way, so what is there is compared field by field of what is
wanted; that a field is wanted no more is told by a hash of what was written, kept as an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from paddock_api.canonical import short_hash
from paddock_api.metadata import GROUP
from paddock_api.quantity import parse_quantity
from paddock_operator.cluster.resources import Object

ANNOTATION_APPLIED = f"{GROUP}/applied"
# Below these fields stand amounts.
_AMOUNTS = frozenset({"limits", "requests", "sizeLimit"})


def marked(document: Object) -> Object:
    """With the hash of itself."""
    metadata = document["metadata"]
    annotations = {**metadata.get("annotations", {}), ANNOTATION_APPLIED: short_hash(document)}
    return {**document, "metadata": {**metadata, "annotations": annotations}}


def differs(wanted: Object, found: Object | None) -> bool:
    """`wanted` is marked, or is of a kind that never drops a field."""
    return found is None or not _covers(wanted, found, amounts=False)


def with_version(wanted: Object, found: Object | None) -> Object:
    """Such that it is written only over what was looked at."""
    if found is None:
        return wanted
    seen = {name: found["metadata"][name] for name in ("uid", "resourceVersion")}
    return {**wanted, "metadata": {**wanted["metadata"], **seen}}


def _covers(wanted: Any, found: Any, *, amounts: bool) -> bool:
    if found is None and not wanted:
        return True  # the API server leaves out what is false, zero or empty
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _covers(value, found.get(key), amounts=amounts or key in _AMOUNTS) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(
            _covers(one, other, amounts=amounts) for one, other in zip(wanted, found, strict=True))
    if amounts and isinstance(wanted, int | str) and isinstance(found, int | str):
        return _amount(wanted) == _amount(found)
    return bool(wanted == found)


def _amount(value: int | str) -> Decimal | str:
    try:
        return parse_quantity(value)
    except ValueError:
        return str(value)
