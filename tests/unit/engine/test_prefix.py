"""The radix tree against the obvious: comparing with every sequence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paddock_runtime.engine.llama.prefix import PrefixTree, common_length

Tokens = st.lists(st.integers(0, 2), max_size=12)
Salt = st.sampled_from(["a", "b"])


def shared(a: list[int], b: list[int]) -> int:
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    return count


@given(a=Tokens, b=Tokens)
def test_common_length_counts_agreeing_tokens(a: list[int], b: list[int]) -> None:
    assert common_length(a, 0, b, 0) == shared(a, b)


@given(
    held=st.lists(st.tuples(Salt, Tokens), max_size=20),
    gone=st.sets(st.integers(0, 19)),
    salt=Salt,
    wanted=Tokens,
)
def test_matches_are_those_of_a_full_comparison(
    held: list[tuple[str, list[int]]], gone: set[int], salt: str, wanted: list[int]
) -> None:
    tree: PrefixTree[int] = PrefixTree()
    for key, (its_salt, tokens) in enumerate(held):
        tree.insert(key, its_salt, tokens)
    for key in gone:
        tree.remove(key)
    found = list(tree.matches(salt, wanted))
    expected = {
        (shared(tokens, wanted), key)
        for key, (its_salt, tokens) in enumerate(held)
        if key not in gone and its_salt == salt and shared(tokens, wanted)
    }
    assert set(found) == expected
    assert len(found) == len(expected)
    assert [depth for depth, _ in found] == sorted((depth for depth, _ in found), reverse=True)


def test_a_key_moves_and_an_empty_tree_keeps_nothing() -> None:
    tree: PrefixTree[str] = PrefixTree()
    tree.insert("x", "s", [1, 2, 3])
    tree.insert("x", "s", [1, 9])
    assert list(tree.matches("s", [1, 2, 3])) == [(1, "x")]
    tree.remove("x")
    assert len(tree) == 0
    assert tree._roots == {}
