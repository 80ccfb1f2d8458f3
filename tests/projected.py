"""A projected volume as kubelet keeps it: a dated folder, `..data` swapped to it, files that are links through that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from paddock_api.pool import PoolConfig, PoolEntry
from paddock_api.shards import COUNT, file_name, split


class ProjectedVolume:
    """`swap` is what kubelet's atomic writer does: all files change in one rename, then the old ones go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def swap(self, files: Mapping[str, bytes]) -> None:
        fresh = self.folder / f"..2026_11_22_10_00_00.{os.urandom(5).hex()}"
        fresh.mkdir()
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        data_link, new_link = self.folder / "..data", self.folder / "..data_tmp"
        old = data_link.resolve() if data_link.is_symlink() else None
        new_link.symlink_to(fresh.name)
        os.rename(new_link, data_link)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for path in self.folder.iterdir():
            if not path.name.startswith("..") and path.name not in files:
                path.unlink()
        if old is not None:
            shutil.rmtree(old)


def pool_config(generation: int, entries: Iterable[PoolEntry]) -> PoolConfig:
    return PoolConfig(generation=generation, models={str(entry.id): entry for entry in entries})


def shard_files(config: PoolConfig) -> dict[str, bytes]:
    """What the volume holds of `config`, by name."""
    return {file_name(index): data for index, data in enumerate(split(config, COUNT))}
