"""What tests of the resolver share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest

from paddock_api.errors import PaddockError
from paddock_api.source import HttpSource, HuggingFaceSource, Source
from paddock_operator.resolve import Credential, Pin, Resolved, Resolver

REPO = "org/model-GGUF"
NOBODY: Mapping[str, Credential] = {}


def hub(repo: str = REPO, *, file: str | None = None, quant: str | None = None, revision: str = "main",
        credential: str | None = None) -> Source:
    given = {"file": file, "quant": quant, "credential": credential}
    set_ones = {name: value for name, value in given.items() if value is not None}
    return Source(hugging_face=HuggingFaceSource.model_validate({"repo": repo, "revision": revision, **set_ones}))


def http(url: str, sha256: str = "0" * 64) -> Source:
    return Source(http=HttpSource(url=url, sha256=sha256))


async def resolve(
    resolver: Resolver, source: Source, *, pinned: Pin | None = None, follow: bool = False,
    credentials: Mapping[str, Credential] = NOBODY,
) -> Resolved:
    return await resolver.resolve(source, pinned=pinned, follow=follow, credentials=credentials)


async def failure(
    resolver: Resolver, source: Source, *, pinned: Pin | None = None, follow: bool = False,
    credentials: Mapping[str, Credential] = NOBODY,
) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        await resolve(resolver, source, pinned=pinned, follow=follow, credentials=credentials)
    assert caught.value.message.isprintable()
    return caught.value


def write_shards(folder: Path, name: str) -> list[Path]:
    """A llama of four matrices in shards of one, as the gguf package splits it."""
    writer = gguf.GGUFWriter(folder / f"{name}.gguf", "llama", split_max_tensors=1)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    for number in range(4):
        writer.add_tensor(f"blk.0.part{number}.weight", np.full((64, 64), number, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob(f"{name}-*.gguf"))
