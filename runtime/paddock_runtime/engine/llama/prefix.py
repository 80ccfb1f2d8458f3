"""A radix tree over tokens: which sequences share how long a prefix with a prompt.

Pure. One root a salt, so nothing is ever found across Models or tenants. A key stands at the node where its
tokens end; all keys below a node share the tokens that lead to it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


def common_length(a: Sequence[int], a_start: int, b: Sequence[int], b_start: int) -> int:
    """How many tokens agree from the two starts on. Slices compare in C, so halving beats a loop."""
    limit = min(len(a) - a_start, len(b) - b_start)
    if a[a_start : a_start + limit] == b[b_start : b_start + limit]:
        return limit
    low, high = 0, limit  # the first `low` agree, the first `high` don't
    while high - low > 1:
        middle = (low + high) // 2
        if a[a_start + low : a_start + middle] == b[b_start + low : b_start + middle]:
            low = middle
        else:
            high = middle
    return low


class _Node(Generic[Key]):
    __slots__ = ("children", "edge", "keys", "parent")

    def __init__(self, edge: tuple[int, ...], parent: _Node[Key] | None) -> None:
        self.edge = edge
        self.parent = parent
        self.children: dict[int, _Node[Key]] = {}
        self.keys: set[Key] = set()

    def below(self) -> Iterator[Key]:
        """All keys whose tokens pass through or end at this node."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield from node.keys
            stack.extend(node.children.values())


class PrefixTree(Generic[Key]):
    """Insert costs O(tokens); a search too, whatever the number of sequences held."""

    def __init__(self) -> None:
        self._roots: dict[str, _Node[Key]] = {}
        self._places: dict[Key, tuple[str, _Node[Key]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def insert(self, key: Key, salt: str, tokens: Sequence[int]) -> None:
        """Place `key` at the end of `tokens`; a key that is there already moves."""
        self.remove(key)
        tokens = tuple(tokens)
        node = self._roots.setdefault(salt, _Node((), None))
        at = 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                child = _Node(tokens[at:], node)
                node.children[tokens[at]] = child
                node, at = child, len(tokens)
                break
            shared = common_length(child.edge, 0, tokens, at)
            if shared < len(child.edge):
                child = self._split(child, shared)
            node, at = child, at + shared
        node.keys.add(key)
        self._places[key] = (salt, node)

    def _split(self, node: _Node[Key], at: int) -> _Node[Key]:
        """Cut the node's edge: the new upper part, whose only child is the node."""
        assert node.parent is not None
        upper = _Node(node.edge[:at], node.parent)
        node.parent.children[node.edge[0]] = upper
        node.edge = node.edge[at:]
        node.parent = upper
        upper.children[node.edge[0]] = node
        return upper

    def remove(self, key: Key) -> None:
        place = self._places.pop(key, None)
        if place is None:
            return
        salt, node = place
        node.keys.discard(key)
        while node.parent is not None and not node.keys and len(node.children) < 2:
            parent = node.parent
            if node.children:
                (child,) = node.children.values()
                child.edge = node.edge + child.edge
                child.parent = parent
                parent.children[child.edge[0]] = child
                return
            del parent.children[node.edge[0]]
            node = parent
        if node.parent is None and not node.children and not node.keys:
            self._roots.pop(salt, None)

    def matches(self, salt: str, tokens: Sequence[int]) -> Iterator[tuple[int, Key]]:
        """Every key that shares a prefix with `tokens`, with the shared length, longest first."""
        root = self._roots.get(salt)
        if root is None:
            return
        tokens = tuple(tokens)
        path: list[tuple[int, _Node[Key]]] = []
        node, at = root, 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                break
            shared = common_length(child.edge, 0, tokens, at)
            at += shared
            path.append((at, child))
            node = child
            if shared < len(child.edge):
                break
        taken: _Node[Key] | None = None
        for depth, node in reversed(path):
            for key in node.keys:
                yield depth, key
            for child in node.children.values():
                if child is not taken:
                    for key in child.below():
                        yield depth, key
            taken = node
