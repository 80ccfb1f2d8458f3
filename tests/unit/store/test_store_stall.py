"""The stall limit of a download, where a block was just written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from paddock_runtime.store.answers import Body
from paddock_runtime.store.connect import Connector
from paddock_runtime.store.download import BLOCK_BYTES, Download, Wanted
from paddock_runtime.store.partial import Partial
from paddock_runtime.store.places import Remote
from paddock_runtime.store.retries import Retries, RetryPolicy
from paddock_runtime.store.space import DiskSpace
from tests.hub.kit import ignore

SHA = "0" * 64


class Dripping:
    """Fills a block with its last, tiny piece, and drips from then on."""

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        yield b"x" * (BLOCK_BYTES - 1)
        for _ in range(300):
            yield b"x"
            await asyncio.sleep(0.01)


async def test_a_server_that_drips_after_a_block_counts_as_hanging(tmp_path: Path) -> None:
    file = Remote(url=httpx.URL("https://example.com/f"), sha256=SHA, param="source.http.url")
    space = DiskSpace(tmp_path, 0)
    with Partial(tmp_path / "partial") as partial, space.claimed(SHA):
        download = Download(
            Wanted(file=file), partial, connector=Connector(frozenset()), space=space, root=tmp_path, report=ignore,
            retries=Retries(RetryPolicy(stall_seconds=0.2), dice=lambda: 0.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30) as watch:
                await download._receive(cast(httpx.Response, Dripping()), Body(0, 5 << 20), watch)
        assert BLOCK_BYTES <= partial.length < BLOCK_BYTES + 300
