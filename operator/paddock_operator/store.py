"""What the operator knows of the cluster: its own kinds as last seen, so that a reconcile needs no list.

Fed by watches, by whole lists (which also tell what was deleted unseen) and by the answers to its own writes.
Older news never replaces newer: resourceVersions of one kind are numbers that grow.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple

from paddock_operator.cluster.resources import Object

_TOMBSTONES = 4096


class Key(NamedTuple):
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


Index = Callable[[Object], Iterable[Hashable]]
# key, before, after, and whether this process made the change itself
Listener = Callable[[Key, Object | None, Object | None, bool], None]


def key_of(document: Object) -> Key:
    metadata = document["metadata"]
    return Key(metadata.get("namespace") or "", metadata["name"])


def version_of(document: Object) -> int:
    """The resourceVersion; 0 for what has none."""
    version = document["metadata"].get("resourceVersion") or ""
    return int(version) if version.isdigit() else 0


class Store:
    """All objects of one kind. `trim` drops what nobody reads before an object is kept.

    Listeners get the object before and after each change, never for news that is not new."""

    def __init__(self, indexes: dict[str, Index] | None = None, trim: Callable[[Object], Object] | None = None) -> None:
        self._objects: dict[Key, Object] = {}
        self._indexes = indexes or {}
        self._by: dict[str, dict[Hashable, set[Key]]] = {name: {} for name in self._indexes}
        self._tombstones: OrderedDict[Key, int] = OrderedDict()
        self._trim = trim or _as_it_is
        self._listeners: list[Listener] = []
        self.synced = False

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def by(self, index: str, value: Hashable) -> list[Object]:
        """In order of namespace and name."""
        return [self._objects[key] for key in sorted(self._by[index].get(value, ()))]

    def keys(self) -> list[Key]:
        return sorted(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def learn(self, document: Object, *, own: bool = False) -> bool:
        """An object as it is now; `own`: as this process wrote it. False if that was known, or is older."""
        key, version = key_of(document), version_of(document)
        before = self._objects.get(key)
        if before is not None and version_of(before) >= version:
            return False
        if version <= self._tombstones.get(key, -1):
            return False
        self._tombstones.pop(key, None)
        self._put(key, before, self._trim(document), own)
        return True

    def gone(self, document: Object, *, own: bool = False) -> bool:
        """A deletion was seen. Of an object that had the same name before the one that is known, it changes nothing."""
        key = key_of(document)
        before = self._objects.get(key)
        self._bury(key, version_of(document))
        same = before is not None and before["metadata"].get("uid") == document["metadata"].get("uid")
        if before is None or (not same and version_of(before) > version_of(document)):
            return False
        self._put(key, before, None, own)
        return True

    def replace(self, documents: Iterable[Object], resource_version: str) -> int:
        """A whole list as of `resource_version`: what is missing in it was deleted. Returns the number of deletions."""
        as_of = int(resource_version) if resource_version.isdigit() else 0
        listed = set()
        for document in documents:
            listed.add(key_of(document))
            self.learn(document)
        missing = [key for key, known in self._objects.items() if key not in listed and version_of(known) <= as_of]
        for key in missing:
            self._bury(key, as_of)
            self._put(key, self._objects[key], None, own=False)
        self.synced = True
        return len(missing)

    def _put(self, key: Key, before: Object | None, after: Object | None, own: bool) -> None:
        for name, index in self._indexes.items():
            old = set(index(before)) if before is not None else set()
            new = set(index(after)) if after is not None else set()
            self._reindex(self._by[name], key, old, new)
        if after is None:
            del self._objects[key]
        else:
            self._objects[key] = after
        for listener in self._listeners:
            listener(key, before, after, own)

    @staticmethod
    def _reindex(entries: dict[Hashable, set[Key]], key: Key, old: set[Hashable], new: set[Hashable]) -> None:
        for value in old - new:
            entries[value].discard(key)
            if not entries[value]:
                del entries[value]
        for value in new - old:
            entries.setdefault(value, set()).add(key)

    def _bury(self, key: Key, version: int) -> None:
        self._tombstones[key] = max(version, self._tombstones.pop(key, 0))
        while len(self._tombstones) > _TOMBSTONES:
            self._tombstones.popitem(last=False)


def _as_it_is(document: Object) -> Object:
    return document
