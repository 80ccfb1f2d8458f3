"""`python -m tests.hub.fetch ROOT URL SHA256`: a process that fetches one file, for tests that kill it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx

from paddock_api.source import HttpSource, Source
from paddock_runtime.store import FileStore
from tests.hub.kit import QUICK, ignore


async def main(root: Path, url: str, sha256: str) -> None:
    host = httpx.URL(url)
    store = FileStore(root, allow_hosts=frozenset({f"{host.host}:{host.port}"}), retries=QUICK, reserve_bytes=0)
    artifact = await store.ensure(Source(http=HttpSource(url=url, sha256=sha256)), progress=ignore)
    print(artifact.sha256, artifact.size)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
