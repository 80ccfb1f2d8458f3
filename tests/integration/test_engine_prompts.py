"""Idle prompts are kept on disk and come back in a later context, whole, in order, and only for whom they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from paddock_runtime.engine.llama import native
from paddock_runtime.engine.llama.keeper import Keeper
from paddock_runtime.engine.llama.weights import Weights
from paddock_runtime.engine.protocol import ContextOptions, PromptFolder
from tests import models
from tests.engine_core import Core, core, loaded
from tests.integration.test_engine_sharing import CASES, assert_within_floor, words

PATIENCE = 60.0
OPTIONS = ContextOptions(context_length=2048, cache_tokens=4096, parallel=16)


class KeepingCore(Core):
    said: list[str]

    @property
    def keeper(self) -> Keeper:
        assert self.generator.keeper is not None
        return self.generator.keeper

    def write(self) -> None:
        """All that is idle, as before the context is closed."""
        give_up = time.monotonic() + PATIENCE
        while (left := self.keeper.work(busy=False, leaving=True)) is not None:
            assert time.monotonic() < give_up
            time.sleep(left)


@contextmanager
def keeping(weights: Weights, options: ContextOptions, folder: Path, *, key: str = "k", budget: int = 1 << 30,
            write_seconds: float = 3600.0) -> Iterator[KeepingCore]:
    with core(weights, options) as made, ThreadPoolExecutor(max_workers=1) as executor:
        made.__class__ = KeepingCore
        assert isinstance(made, KeepingCore)
        made.said = []
        made.generator.keeper = Keeper(
            made.context, made.generator.holdings, PromptFolder(
                folder=str(folder), key=key, budget_bytes=budget, write_seconds=write_seconds, least_tokens=64),
            executor, made.said.append)
        yield made


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Weights, ContextOptions]]:
    build, options = CASES[request.param]
    with loaded(build()) as weights:
        yield weights, options


@pytest.fixture(scope="module")
def full() -> Iterator[Weights]:
    with loaded(models.full()) as weights:
        yield weights


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.prompt"))


def test_a_kept_prompt_comes_back(case: tuple[Weights, ContextOptions], tmp_path: Path) -> None:
    weights, options = case
    prefix, suffix = words(weights, 300, 1), words(weights, 40, 2)
    with keeping(weights, options, tmp_path) as first:
        first.ask(prefix)
        first.write()
        assert first.keeper.written >= 1
        expected = first.ask(prefix + suffix)
    with keeping(weights, options, tmp_path) as second:
        run = second.ask(prefix + suffix)
        assert second.keeper.restored == 1
        assert second.generator.evaluated == len(suffix)
    assert run.sequence.cached_tokens == len(prefix)
    if weights.memory_class == "sliding":  # of the window's layers only the window comes back: it lies elsewhere
        assert_within_floor(run.rows[0], weights, options, prefix + suffix)
    else:
        np.testing.assert_array_equal(run.rows[0], expected.rows[0])


def test_the_next_turn_of_a_chat_goes_on_from_the_prompts_end(case: tuple[Weights, ContextOptions], tmp_path: Path
                                                              ) -> None:
    """The answer comes back in other tokens than it was made of, as a template's rendering may have it."""
    weights, options = case
    prompt = words(weights, 300, 3)
    turn = prompt + words(weights, 110, 4)
    with keeping(weights, options, tmp_path) as first:
        first.ask(prompt, most=100)
        first.write()
        in_memory = first.ask(turn)
        assert first.keeper.restored == 0
        assert in_memory.sequence.cached_tokens >= len(prompt) - 1
        assert_within_floor(in_memory.rows[0], weights, options, turn)
    with keeping(weights, options, tmp_path) as second:
        restored = second.ask(turn)
        assert second.keeper.restored == 1
        assert restored.sequence.cached_tokens >= len(prompt) - 1
        assert second.generator.evaluated <= len(turn) - len(prompt) + 1
        assert_within_floor(restored.rows[0], weights, options, turn)


def test_a_long_conversation_goes_on_through_many_loads(case: tuple[Weights, ContextOptions], tmp_path: Path) -> None:
    weights, options = case
    turn = words(weights, 200, 5)
    for number in range(3):
        with keeping(weights, options, tmp_path) as made:
            run = made.ask(turn, most=5)
            assert made.keeper.restored == (1 if number else 0)
            made.write()
            assert_within_floor(run.rows[0], weights, options, turn)
        turn = run.sequence.tokens[:-1] + words(weights, 30, 50 + number)
        if number:
            assert run.sequence.cached_tokens >= 199 + 30 * (number - 1)


def test_the_longer_one_replaces_the_shorter_where_it_can_be_rolled_back(full: Weights, tmp_path: Path) -> None:
    prompt = words(full, 200, 6)
    with keeping(full, OPTIONS, tmp_path) as made:
        made.ask(prompt)
        made.write()
        made.ask(prompt + words(full, 50, 7))
        made.write()
        assert made.keeper.written == 2
    assert len(files(tmp_path)) == 1
    with keeping(full, OPTIONS, tmp_path) as again:
        assert again.ask(prompt[:150] + words(full, 20, 8)).sequence.cached_tokens == 150


def test_what_is_short_or_known_is_not_written(full: Weights, tmp_path: Path) -> None:
    with keeping(full, OPTIONS, tmp_path) as made:
        made.ask(words(full, 63, 9))
        made.ask(words(full, 64, 10))
        made.write()
        assert made.keeper.written == 1
    with keeping(full, OPTIONS, tmp_path) as again:
        again.ask(words(full, 64, 10))
        again.write()
        assert again.keeper.written == 0


def test_idle_prompts_are_written_when_it_is_time(full: Weights, tmp_path: Path) -> None:
    with keeping(full, OPTIONS, tmp_path, write_seconds=3600.0) as made:
        made.ask(words(full, 100, 11))
        left = made.keeper.work(busy=False)
        assert left is not None
        assert 1700 < left <= 1800
        assert made.keeper.work(busy=True) is None  # steps wait: not even looked at
        assert made.keeper.written == 0
    with keeping(full, OPTIONS, tmp_path, write_seconds=0.0) as made:
        made.ask(words(full, 100, 11))
        give_up = time.monotonic() + PATIENCE
        while made.keeper.work(busy=True) is not None:
            assert time.monotonic() < give_up
        assert made.keeper.written == 1


def flip(at: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    return change


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(100_000))


@pytest.mark.parametrize("spoil", [flip(0), flip(9), flip(60), flip(400), flip(-2000), flip(-1), truncate, lengthen],
                         ids=["magic", "length", "header", "tokens", "state", "digest", "shorter", "longer"])
@pytest.mark.parametrize("late", [False, True], ids=["before the load", "after the load"])
def test_a_damaged_file_is_refused_and_deleted(full: Weights, tmp_path: Path, spoil: Callable[[Path], None],
                                               late: bool) -> None:
    prompt = words(full, 200, 12)
    with keeping(full, OPTIONS, tmp_path) as made:
        made.ask(prompt)
        made.write()
    (path,) = files(tmp_path)
    if not late:
        spoil(path)
    with keeping(full, OPTIONS, tmp_path) as again:
        if late:
            spoil(path)
        run = again.ask(prompt + words(full, 10, 13))
        assert run.sequence.cached_tokens == 0
        assert again.keeper.restored == 0
        assert again.keeper.refused == 1
        assert path.name in again.said[0]
        assert not path.exists()


def test_a_file_of_another_engine_version_is_refused(full: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                     ) -> None:
    prompt = words(full, 200, 14)
    with keeping(full, OPTIONS, tmp_path) as made:
        made.ask(prompt)
        made.write()
    monkeypatch.setattr(native, "version", lambda: "llama-cpp-python 99.0")
    with keeping(full, OPTIONS, tmp_path) as again:
        assert again.ask(prompt).sequence.cached_tokens == 0
        assert again.keeper.refused == 1
        assert "engine" in again.said[0]
    assert files(tmp_path) == []


def test_a_file_of_other_weights_or_options_is_not_found_and_moved_there_refused(full: Weights, tmp_path: Path
                                                                                 ) -> None:
    prompt = words(full, 200, 15)
    with keeping(full, OPTIONS, tmp_path) as made:
        made.ask(prompt)
        made.write()
    (path,) = files(tmp_path)
    with keeping(full, OPTIONS, tmp_path, key="other") as other:
        assert other.ask(prompt).sequence.cached_tokens == 0
        other.ask(words(full, 100, 16))
        other.write()
    assert path.exists()
    folder = next(each.parent for each in files(tmp_path) if each.parent != path.parent)
    for each in folder.iterdir():
        each.unlink()
    path.rename(folder / path.name)
    with keeping(full, OPTIONS, tmp_path, key="other") as other:
        assert other.ask(prompt).sequence.cached_tokens == 0
        assert other.keeper.refused == 1
        assert "key" in other.said[0]


def test_another_tenants_file_is_not_found_and_nothing_tells_whose_it_is(full: Weights, tmp_path: Path) -> None:
    prompt = words(full, 200, 17)
    with keeping(full, OPTIONS, tmp_path) as made:
        made.ask(prompt, salt="team/model\nalice", shared="team/model")
        made.write()
    with keeping(full, OPTIONS, tmp_path) as again:
        assert again.ask(prompt, salt="team/model\nbob", shared="team/model").sequence.cached_tokens == 0
        assert again.keeper.restored == 0
        assert again.ask([*prompt, 20], salt="team/model\nalice", shared="team/model").sequence.cached_tokens == 200
    (path,) = files(tmp_path)
    for secret in ("alice", "model"):
        assert secret not in str(path.relative_to(tmp_path))
        assert secret.encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_what_a_model_shares_serves_its_tenants_and_a_tenants_own_no_other(case: tuple[Weights, ContextOptions],
                                                                         tmp_path: Path) -> None:
    weights, options = case
    prompt, own = words(weights, 150, 18), words(weights, 150, 19)
    with keeping(weights, options, tmp_path) as made:
        made.ask(prompt, salt="m", shared="m")
        for tenant in ("m\na", "m\nb", "m\nc"):
            run = made.ask(prompt + words(weights, 20, 20), salt=tenant, shared="m")
            assert run.sequence.cached_tokens >= 149, tenant
        made.ask(own, salt="m\na", shared="m")
        assert made.ask(own, salt="m\nb", shared="m").sequence.cached_tokens == 0
        assert made.ask(prompt, salt="other\na", shared="other").sequence.cached_tokens == 0
        made.write()
    with keeping(weights, options, tmp_path) as again:
        assert again.ask(prompt + words(weights, 20, 21), salt="m\nd", shared="m").sequence.cached_tokens >= 149
        assert again.ask(own + words(weights, 20, 22), salt="m\nd", shared="m").sequence.cached_tokens == 0


def test_what_nobody_waits_for_is_put_aside_for_requests_and_loses_nothing(case: tuple[Weights, ContextOptions]
                                                                           ) -> None:
    weights, options = case
    prompt = words(weights, 500, 23)
    with core(weights, options) as made:
        warm = made.start(prompt, salt="m", shared="m", background=True)
        made.step()
        assert 0 < made.generator.evaluated < 500
        run = made.start(words(weights, 100, 24), most=4, salt="m\na", shared="m")
        before = made.generator.evaluated
        made.finish(run)
        assert not warm.finished
        assert made.generator.evaluated == before + 100  # not one token of the other meanwhile
        made.finish(warm)
        assert made.generator.evaluated == 600
        assert_within_floor(warm.rows[0], weights, options, prompt)


def test_all_files_stay_within_the_budget(full: Weights, tmp_path: Path) -> None:
    with keeping(full, OPTIONS, tmp_path) as made:
        made.ask(words(full, 200, 30))
        made.write()
    size = files(tmp_path)[0].stat().st_size
    budget = int(3.5 * size)
    prompts = [words(full, 200, 31 + number) for number in range(6)]
    with keeping(full, OPTIONS, tmp_path, budget=budget) as made:
        for prompt in prompts:
            made.ask(prompt)
            made.write()
            assert sum(path.stat().st_size for path in files(tmp_path)) <= budget
        assert made.keeper.written == 6
    assert len(files(tmp_path)) == 3
    with keeping(full, OPTIONS, tmp_path, budget=budget) as again:
        cached = [again.ask([*prompt, 20]).sequence.cached_tokens for prompt in prompts]
    assert cached == [0, 0, 0, 200, 200, 200]  # the least recently used went first


def test_restoring_takes_no_cells_from_who_runs(full: Weights, tmp_path: Path) -> None:
    kept, room = words(full, 400, 40), ContextOptions(context_length=512, cache_tokens=512, parallel=4)
    with keeping(full, room, tmp_path) as made:
        made.ask(kept)
        made.write()
    with keeping(full, room, tmp_path) as again:
        running = again.start(words(full, 200, 41), most=100)
        again.step()
        waiting = again.start([*kept, 20])
        again.step()
        assert again.keeper.restored == 0
        again.finish(running, waiting)
        assert again.generator.preemptions == 0
