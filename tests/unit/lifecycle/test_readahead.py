"""Pages that are asked for early: in order, within bounds, and never in anybody's way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from paddock_runtime.system.readahead import ReadAhead, read_ahead

MIB = 1 << 20


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """What the kernel was asked for: (start, length, advice). It is asked all the same."""
    found: list[tuple[int, int, int]] = []
    advise = os.posix_fadvise

    def noting(fd: int, start: int, length: int, advice: int) -> None:
        found.append((start, length, advice))
        advise(fd, start, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", noting)
    return found


def files(folder: Path, *sizes: int) -> list[Path]:
    paths = [folder / f"shard-{number}" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        with path.open("wb") as file:
            file.truncate(size)
    return paths


def test_all_shards_in_order_in_pieces(tmp_path: Path, asked: list[tuple[int, int, int]]) -> None:
    paths = files(tmp_path, 17 * MIB, 0, 3)
    assert read_ahead(paths, most_bytes=1 << 40) == 17 * MIB + 3
    will = os.POSIX_FADV_WILLNEED
    assert asked == [(0, 8 * MIB, will), (8 * MIB, 8 * MIB, will), (16 * MIB, MIB, will), (0, 3, will)]


def test_no_more_than_its_bound_and_nothing_after_it_was_given_up(
        tmp_path: Path, asked: list[tuple[int, int, int]]) -> None:
    paths = files(tmp_path, 17 * MIB, 3)
    assert read_ahead(paths, most_bytes=9 * MIB) == 9 * MIB
    assert read_ahead(paths, most_bytes=1 << 40, stop=lambda: len(asked) >= 3) == 8 * MIB


def test_a_file_that_hangs_or_is_not_there_costs_nobody_anything(tmp_path: Path) -> None:
    """A pipe that nobody writes to hangs at open, as a volume may: no call waits for it, and others have no place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ahead = ReadAhead(at_once=1, most_bytes=MIB)
    before = threading.active_count()
    ahead.begin([pipe])
    ahead.begin([pipe])()
    assert threading.active_count() == before + 1
    with pipe.open("wb"):  # a pipe has no pages: an error, which is let go by
        pass
    for thread in threading.enumerate():
        if thread.name == "read ahead":
            thread.join(60)
    ahead.begin([tmp_path / "nowhere"])
    for thread in threading.enumerate():
        if thread.name == "read ahead":
            thread.join(60)
    assert ahead._places.acquire(blocking=False), "the place is free again"
