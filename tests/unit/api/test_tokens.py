from __future__ import annotations

import re

import pytest

from paddock_api.tokens import pool_token, root_token

ROOT = b"0123456789abcdef0123456789abcdef"


def test_the_token_is_pinned() -> None:
    """A gateway and an operator of different releases must agree on it."""
    assert pool_token(ROOT, "paddock", "default") == \
        "accd209c6151565a67ac44fd7a75118224193d6d67cc683b99ce57b0244f706a"


def test_each_pool_and_each_root_has_its_own() -> None:
    tokens = {pool_token(root, namespace, pool) for root in (ROOT, ROOT[::-1])
              for namespace in ("a", "b", "ab") for pool in ("a", "b", "bc", "c")}
    assert len(tokens) == 24
    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in tokens)


@pytest.mark.parametrize(("namespace", "pool"), [("", "p"), ("n", ""), ("a/b", "c"), ("a", "b/c")])
def test_what_could_be_mistaken_for_another_pool_is_refused(namespace: str, pool: str) -> None:
    with pytest.raises(ValueError, match="do not name a pool"):
        pool_token(ROOT, namespace, pool)


def test_an_editor_s_newline_does_not_change_the_root() -> None:
    assert root_token(ROOT + b"\n") == root_token(b" " + ROOT) == ROOT


@pytest.mark.parametrize("content", [b"", b"\n", b"short-secret", ROOT[:31] + b" \n"])
def test_a_weak_root_is_refused_and_never_shown(content: bytes) -> None:
    with pytest.raises(ValueError, match="at least 32") as caught:
        root_token(content)
    shown = content.strip().decode()
    assert not shown or shown not in str(caught.value)
