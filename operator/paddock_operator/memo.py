"""Parsed objects, kept as long as their documents do not change: a pass over many parses only what is new."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from paddock_operator.cluster.resources import Object

T = TypeVar("T")


class Memo(Generic[T]):
    """`read` must depend on nothing but the document."""

    def __init__(self, read: Callable[[Object], T], *, limit: int = 50_000) -> None:
        self._read = read
        self._limit = limit
        self._known: OrderedDict[str, tuple[str, T]] = OrderedDict()

    def __call__(self, document: Object) -> T:
        """Raises what `read` raises; failures are not kept."""
        metadata = document["metadata"]
        uid, version = metadata.get("uid") or "", metadata.get("resourceVersion") or ""
        known = self._known.get(uid)
        if known is not None and known[0] == version:
            self._known.move_to_end(uid)
            return known[1]
        parsed = self._read(document)
        if uid and version:
            self._known[uid] = (version, parsed)
            self._known.move_to_end(uid)
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        return parsed
