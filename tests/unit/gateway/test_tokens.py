"""The gateway's tokens for pods, and the root token that changes under them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from paddock_api.tokens import pool_token
from paddock_gateway.access import tokens as module
from paddock_gateway.access.tokens import Tokens
from tests.unit.gateway.fleet_kit import POOL

_OLD, _NEW = b"o" * 32, b"n" * 32


def _of(root: bytes) -> str:
    return pool_token(root, POOL.namespace, POOL.name)


def test_a_new_root_token_counts_from_the_next_look_on(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(_OLD)
    tokens = Tokens(file)
    assert tokens.of(POOL) == _of(_OLD)
    file.write_bytes(_NEW)
    assert tokens.of(POOL) == _of(_OLD)
    tokens.refresh()
    assert tokens.of(POOL) == _of(_NEW)


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_an_unusable_root_token_leaves_the_last(tmp_path: Path, content: bytes | None,
                                                caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_bytes(_OLD)
    tokens = Tokens(file)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        tokens.refresh()
    assert tokens.of(POOL) == _of(_OLD)
    assert "stays in force" in caplog.text
    with pytest.raises((OSError, ValueError)):
        Tokens(file)


def test_no_token_of_the_old_root_is_kept_under_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`refresh` runs in another thread: it may come between the making of a token and its keeping."""
    file = tmp_path / "token"
    file.write_bytes(_OLD)
    tokens = Tokens(file)

    def meanwhile(root: bytes, namespace: str, name: str) -> str:
        file.write_bytes(_NEW)
        tokens.refresh()
        return pool_token(root, namespace, name)

    monkeypatch.setattr(module, "pool_token", meanwhile)
    tokens.of(POOL)
    monkeypatch.undo()
    assert tokens.of(POOL) == _of(_NEW)
