"""Files of kept prompts: who finds which, what the budget takes, what a crash leaves."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from paddock_runtime.engine import promptfiles
from paddock_runtime.engine.promptfiles import BadFile, Busy, PromptFile, PromptStore, digest, packed, sweep

STATE = bytes(range(256)) * 40


def store(root: Path, key: str = "k", *, engine: str = "v1", budget: int = 1 << 20) -> PromptStore:
    return PromptStore(root, key, engine, budget_bytes=budget)


def write(files: PromptStore, number: int, *, owner: str = "m", salt: str = "m\nt", used: int | None = None
          ) -> PromptFile:
    made = files.write(owner=owner, salt=salt, tokens=packed([number] * 64), state=STATE)
    assert made is not None
    if used is not None:
        os.utime(made.path, ns=(used, used))
    return made


def on_disk(root: Path) -> int:
    return sum(path.stat().st_size for path in root.glob("*/*"))


def test_what_was_written_is_found_newest_first_and_read_back(tmp_path: Path) -> None:
    files = store(tmp_path)
    old, new = write(files, 1, used=1000), write(files, 2, used=2000)
    found, problems = store(tmp_path).index(most_files=9, most_bytes=1 << 20)
    assert ([each.path for each in found], problems) == ([new.path, old.path], [])
    assert found[0].header.tokens == packed([2] * 64)
    assert bytes(files.load(found[0])) == STATE
    assert found[0].header.salt == digest("m\nt")


def test_the_index_is_bounded(tmp_path: Path) -> None:
    files = store(tmp_path)
    for number in range(6):
        write(files, number, used=1000 + number)
    assert len(files.index(most_files=4, most_bytes=1 << 20)[0]) == 4
    newest, _ = files.index(most_files=9, most_bytes=3 * 64 * 4)
    assert [each.header.tokens for each in newest] == [packed([number] * 64) for number in (5, 4, 3)]


def test_the_budget_counts_all_contexts_and_the_least_recently_used_go(tmp_path: Path) -> None:
    size = write(store(tmp_path, "a"), 0, used=1000).path.stat().st_size
    one, two = store(tmp_path, "a", budget=3 * size), store(tmp_path, "b", budget=3 * size)
    for number in range(1, 8):
        write((one, two)[number % 2], number, used=1000 + number)
        assert on_disk(tmp_path) <= 3 * size
    left = {each.header.tokens for files in (one, two) for each in files.index(most_files=9, most_bytes=1 << 20)[0]}
    assert left == {packed([number] * 64) for number in (5, 6, 7)}


def test_reading_counts_as_use(tmp_path: Path) -> None:
    size = write(store(tmp_path), 0, used=1000).path.stat().st_size
    files = store(tmp_path, budget=2 * size)
    first, second = write(files, 0, used=1000), write(files, 1, used=2000)
    files.load(first)
    write(files, 2)
    assert first.path.exists()
    assert not second.path.exists()


def test_what_exceeds_the_budget_alone_is_not_written(tmp_path: Path) -> None:
    files = store(tmp_path, budget=len(STATE))
    assert files.write(owner="m", salt="s", tokens=packed([1]), state=STATE) is None
    assert on_disk(tmp_path) == 0


def test_temporary_files_of_the_dead_go(tmp_path: Path) -> None:
    files = store(tmp_path)
    path = write(files, 0).path
    left = path.parent / "123-0.new"
    left.write_bytes(b"half")
    assert files.index(most_files=9, most_bytes=1 << 20)[1] == []
    write(files, 1)
    assert not left.exists()
    left.write_bytes(b"half")
    assert sweep(tmp_path, lambda context, owner: True, budget_bytes=1 << 20) == 0
    assert not left.exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    files = store(tmp_path)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        files.write(owner="m", salt="s", tokens=packed([1]), state=STATE)
    assert list(tmp_path.glob("*/*")) == []


def test_a_file_under_anothers_header_is_refused(tmp_path: Path) -> None:
    files = store(tmp_path)
    mine, other = write(files, 1, salt="m\na"), write(files, 1, salt="m\nb")
    other.path.rename(mine.path)
    with pytest.raises(BadFile, match="another"):
        files.load(mine)
    assert not mine.path.exists()


def test_sweeping_takes_what_is_not_wanted_and_its_empty_folder(tmp_path: Path) -> None:
    kept, gone, alone = write(store(tmp_path, "a"), 1), write(store(tmp_path, "a"), 2, owner="n"), \
        write(store(tmp_path, "b"), 3, owner="n")
    assert sweep(tmp_path, lambda context, owner: owner != digest("n"), budget_bytes=1 << 20) == 2
    assert kept.path.exists()
    assert not gone.path.exists()
    assert not alone.path.parent.exists()
    assert sweep(tmp_path, lambda context, owner: context != digest("a"), budget_bytes=1 << 20) == 1
    assert sweep(tmp_path / "nowhere", lambda context, owner: False, budget_bytes=0) == 0


def test_who_holds_the_folder_too_long_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promptfiles, "_LOCK_SECONDS", 0.0)
    files = store(tmp_path)
    write(files, 0)
    with (tmp_path / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            write(files, 1)
    write(files, 1)
