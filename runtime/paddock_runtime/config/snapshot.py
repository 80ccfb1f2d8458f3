"""What a source of configuration says at one moment, and what any such source can do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Protocol

from paddock_api.pool import PoolConfig, config_hash
from paddock_runtime.config.problem import ConfigProblem


@dataclass(frozen=True)
class Snapshot:
    """`config` is what is in force: when there are `errors`, the last one that had none (generation 0: there was none).

    `hash` is of `config`. `notices` name documents that were passed over.
    """

    config: PoolConfig
    hash: str
    errors: tuple[ConfigProblem, ...] = ()
    notices: tuple[ConfigProblem, ...] = ()

    @property
    def error(self) -> str | None:
        """All errors as one text, for `/state`."""
        return "\n".join(map(str, self.errors)) or None


NOTHING = PoolConfig(generation=0, models={})


def make_snapshot(
    config: PoolConfig, errors: Collection[ConfigProblem] = (), notices: Collection[ConfigProblem] = ()
) -> Snapshot:
    return Snapshot(config=config, hash=config_hash(config), errors=tuple(errors), notices=tuple(notices))


class ConfigSource(Protocol):
    """A directory of manifests, a pool's shards: whatever holds the configuration."""

    def read(self) -> Snapshot:
        """Look now. Blocks; never raises for what it finds."""
        ...

    def watch(self) -> AsyncIterator[Snapshot]:
        """Each snapshot that differs from the last (of `read`, or from here); at once if there was none."""
        ...
