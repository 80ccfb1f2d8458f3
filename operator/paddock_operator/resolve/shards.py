"""Files in shards: `NAME-00001-of-0000N.gguf`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST = 64
_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Shard:
    """`number` counts from 1 to `count`."""

    stem: str
    number: int
    count: int

    def sibling(self, number: int) -> str:
        return f"{self.stem}-{number:05d}-of-{self.count:05d}.gguf"


def shard_of(path: str) -> Shard | None:
    """None if that is no shard's name."""
    match = _NAME.fullmatch(path)
    return None if match is None else Shard(match[1], int(match[2]), int(match[3]))


def all_shards(path: str) -> list[str]:
    """The names of all shards in order when `path` names the first of several; else `path` alone.

    Raises ValueError with the reason when `path` names another, or none that can be."""
    shard = shard_of(path)
    if shard is None:
        return [path]
    if not 1 <= shard.number <= shard.count:
        raise ValueError(f"{path!r} is shard {shard.number} of {shard.count}, which can't be")
    if shard.count > MOST:
        raise ValueError(f"{path!r} is one of {shard.count} shards; at most {MOST} are supported")
    if shard.number != 1:
        raise ValueError(f"{path!r} is not the first shard: name {shard.sibling(1)!r}")
    return [shard.sibling(number) for number in range(1, shard.count + 1)]
