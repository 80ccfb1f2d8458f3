"""Who fetches when: what lies on the disk does not stand in line behind downloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.model import ModelSpec
from paddock_api.revision import Resolution, revision_of
from paddock_api.source import Source
from paddock_runtime.engine.llamacpp import LlamaCpp
from paddock_runtime.lifecycle.files import Fetcher, no_check
from paddock_runtime.lifecycle.targets import Target
from paddock_runtime.store import Artifact
from tests.lifecycle_kit import until

HERE = "f" * 64


class Slow:
    """A store that has `HERE`; everything else is on its way for as long as the test wants."""

    def __init__(self) -> None:
        self.fetching: list[str] = []

    def present(self, source: Source, files: Sequence[str] = (), sha256s: Sequence[str] = ()) -> Artifact | None:
        return Artifact(sha256s=(HERE,), paths=(Path("/x"),), identity=()) if list(sha256s) == [HERE] else None

    async def ensure(self, source: Source, *, files: Sequence[str] = (), sha256s: Sequence[str] = (),
                     size: int | None = None, progress: Callable[[float | None], None]) -> Artifact:
        if list(sha256s) == [HERE]:
            raise PaddockError(Code.INVALID_MODEL_FILE, "it was looked at")
        self.fetching.append(sha256s[0])
        await asyncio.Event().wait()
        raise AssertionError

    def verify(self, artifact: Artifact) -> None: ...


class Owner:
    def __init__(self) -> None:
        self.failed: asyncio.Queue[Target] = asyncio.Queue()

    def fetch_changed(self, target: Target) -> None: ...

    def fetch_failed(self, target: Target, error: PaddockError) -> None:
        self.failed.put_nowait(target)


def target(sha256: str) -> Target:
    spec = ModelSpec.model_validate({"source": {"http": {"url": "https://example.com/f", "sha256": sha256}}})
    return Target(model=ModelId("n", "m"), revision=revision_of(spec, Resolution(sha256=sha256)),
                  engine_type=LlamaCpp())


@pytest.mark.parametrize("early", [True, False], ids=["fetched early", "only looked for"])
async def test_what_is_here_does_not_wait_for_the_downloads_of_others(early: bool) -> None:
    store, owner = Slow(), Owner()
    fetcher = Fetcher(owner, store, concurrent=2, memory_bytes=1 << 40, check=no_check)
    try:
        async with asyncio.timeout(30):
            for name in "abc":
                fetcher.start(target(name * 64), urgent=False)
            await until(lambda: len(store.fetching) == 2)
            here = target(HERE)
            if early:
                fetcher.start(here, urgent=False)
            else:
                fetcher.look(here)
            assert await owner.failed.get() is here
            assert len(store.fetching) == 2
    finally:
        await fetcher.close()
