"""A catalog in pieces: whole or not at all, and a change touches few pieces."""

from __future__ import annotations

import pytest

from paddock_api.catalog import Catalog, CatalogBranch, CatalogEntry, CatalogFile, join, split


def entry(number: int, commit: str = "a" * 40) -> CatalogEntry:
    files = (CatalogFile(path="model-Q4_K_M.gguf", size=1000 + number, sha256=f"{number:064x}", quant="Q4_K_M"),)
    return CatalogEntry(repo=f"team/model-{number:05d}", since=1.0, last_modified="2026-11-01T00:00:00.000Z",
                        branches={"main": CatalogBranch(commit=commit, files=files)})


def catalog(count: int, **changed: CatalogEntry) -> Catalog:
    entries = {each.repo: each for each in map(entry, range(count))}
    return Catalog(hub="default/hub", endpoint="https://hub.example", entries=entries | changed)


def test_comes_back_as_it_was() -> None:
    head, pieces = split(catalog(1000), checked_at=5.0)
    assert join(head, pieces) == catalog(1000)
    assert split(catalog(1000), checked_at=9.0)[0].digest == head.digest


def test_a_change_touches_one_piece() -> None:
    before = split(catalog(3000), checked_at=5.0)[1]
    after = split(catalog(3000, **{"team/model-00100": entry(100, "b" * 40)}), checked_at=5.0)[1]
    assert len(before) > 5
    assert len(after.keys() - before.keys()) == 1


def test_no_piece_is_over_the_limit() -> None:
    head, pieces = split(catalog(500), checked_at=5.0, limit=2000)
    assert max(map(len, pieces.values())) <= 2000
    assert join(head, pieces) == catalog(500)
    with pytest.raises(ValueError, match="team/model-00000 alone has"):
        split(catalog(1), checked_at=5.0, limit=100)


def test_missing_and_damaged_pieces_are_told_apart() -> None:
    head, pieces = split(catalog(500), checked_at=5.0, limit=2000)
    first = head.pieces[0]
    with pytest.raises(KeyError):
        join(head, {digest: piece for digest, piece in pieces.items() if digest != first})
    with pytest.raises(ValueError, match="does not have the digest"):
        join(head, pieces | {first: pieces[first][:-1]})


def test_a_fingerprint_leaves_counts_out() -> None:
    assert entry(1).fingerprint == entry(1).model_copy(update={"downloads": 7, "since": 9.0}).fingerprint
    assert entry(1).fingerprint != entry(1, "b" * 40).fingerprint
