"""An engine child keeps its prompts through every end, and says what it refuses."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paddock_runtime.engine.protocol import (
    CloseContext,
    ContextClosed,
    ContextOpened,
    ContextOptions,
    Generate,
    Load,
    Loaded,
    Notice,
    OpenContext,
    PromptFolder,
    Step,
)
from tests import models
from tests.engine_driver import GREEDY, EngineProcess

OPTIONS = ContextOptions(context_length=2048, cache_tokens=4096, parallel=4)
PROMPT = [20 + 7 * number % 380 for number in range(600)]
PATIENCE = 60.0


@contextmanager
def child(folder: Path, *, write_seconds: float = 3600.0) -> Iterator[EngineProcess]:
    """With context 1, which keeps its prompts in `folder`."""
    engine = EngineProcess.bare()
    try:
        engine.send(Load(paths=[str(models.full())], threads=2))
        engine.expect(Loaded)
        open_in(engine, 1, folder, write_seconds=write_seconds)
        yield engine
    finally:
        if engine.process.poll() is None:
            engine.close()


def open_in(engine: EngineProcess, number: int, folder: Path, *, write_seconds: float = 3600.0) -> None:
    engine.send(OpenContext(context=number, options=OPTIONS, prompts=PromptFolder(
        folder=str(folder), key="k", budget_bytes=1 << 30, write_seconds=write_seconds, least_tokens=64)))
    engine.expect(ContextOpened)


def cached(engine: EngineProcess, context: int = 1) -> int:
    answer = engine.ask([*PROMPT, 20, 21], context=context, max_tokens=2)
    assert answer.usage is not None
    return answer.usage.cached_tokens


def said(engine: EngineProcess) -> str:
    """The first notice that came, or comes."""
    before = [report for report in engine.reports if isinstance(report, Notice)]
    return (before[0] if before else engine.expect(Notice)).message


def test_a_child_whose_socket_closes_writes_and_ends(tmp_path: Path) -> None:
    with child(tmp_path) as first:
        first.ask(PROMPT, context=1)
        first.stats(1)
        assert first.close() == 0
    with child(tmp_path) as second:
        assert cached(second) >= 600
        assert second.stats(1).prompts_restored == 1
        assert second.stats(1).prompt_tokens_evaluated == 2


def test_what_runs_when_the_socket_closes_is_kept_too(tmp_path: Path) -> None:
    with child(tmp_path) as first:
        first.generate_all([PROMPT], context=1, max_tokens=1000)
        first.expect(Step)
        first.socket.shutdown(2)
        assert first.ended() in (0, 1)
    with child(tmp_path) as second:
        assert cached(second) >= 600


def test_a_closed_context_writes_while_another_goes_on(tmp_path: Path) -> None:
    with child(tmp_path) as engine:
        engine.ask(PROMPT, context=1)
        open_in(engine, 2, tmp_path)
        (long,) = engine.generate_all([list(range(50, 90))], context=2, max_tokens=200)
        engine.send(CloseContext(context=1))
        engine.expect(ContextClosed)
        (answer,) = engine.wait(long)
        assert answer.finish is not None
        open_in(engine, 3, tmp_path)
        assert cached(engine, 3) >= 600


def test_after_the_write_behind_time_not_even_a_kill_loses_it(tmp_path: Path) -> None:
    with child(tmp_path, write_seconds=0.2) as first:
        first.ask(PROMPT, context=1)
        give_up = time.monotonic() + PATIENCE
        while not first.stats(1).prompts_written:
            assert time.monotonic() < give_up
        first.process.send_signal(signal.SIGKILL)
        assert first.ended() == -signal.SIGKILL
    with child(tmp_path) as second:
        assert cached(second) >= 600


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    with child(tmp_path) as first:
        first.ask(PROMPT, context=1)
        first.stats(1)
    (path,) = tmp_path.glob("*/*.prompt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with child(tmp_path) as second:
        assert cached(second) == 0
        assert path.name in said(second)
        assert second.stats(1).prompts_refused == 1


def test_a_folder_that_cannot_be_written_hinders_nothing(tmp_path: Path) -> None:
    with child(tmp_path / "file", write_seconds=0.0) as engine:
        (tmp_path / "file").write_bytes(b"")
        assert engine.ask(PROMPT, context=1, sampling=GREEDY).finish is not None
        assert "could not be written" in said(engine)
        assert cached(engine) >= 600  # in memory


@pytest.mark.parametrize("background", [True, False])
def test_warm_up_is_for_all_tenants(tmp_path: Path, background: bool) -> None:
    with child(tmp_path) as engine:
        engine.send(Generate(id=9001, context=1, salt="m", shared="m", background=background, prompt=PROMPT,
                             max_tokens=1, sampling=GREEDY))
        engine.wait(9001)
        for number, salt in enumerate(("m\na", "m\nb"), start=9002):
            engine.send(Generate(id=number, context=1, salt=salt, shared="m", prompt=[*PROMPT, 20], max_tokens=1,
                                 sampling=GREEDY))
            (answer,) = engine.wait(number)
            assert answer.usage is not None
            assert answer.usage.cached_tokens == 600
