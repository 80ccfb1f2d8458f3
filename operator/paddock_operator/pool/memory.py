"""What is remembered of a pool between two passes; all of it can be lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from paddock_operator.clock import Clock
from paddock_operator.objects.shards import Shards
from paddock_operator.pool.places import Places


@dataclass
class PoolMemory:
    """Times are of the monotonic clock. `token`: (uid of the pool, token, when) of the Secret written last.
    `annotated`: by pod uid, when. `shrinking`: since when fewer pods are wanted. `cost`: seconds the last pass took to
    make the configuration."""

    places: Places
    shards: Shards | None = None
    token: tuple[str, str, float] | None = None
    annotated: dict[str, float] = field(default_factory=dict)
    shrinking: float | None = None
    began: float | None = None
    cost: float = 0.0
    status_written: float | None = None


def fresh(clock: Clock) -> PoolMemory:
    return PoolMemory(places=Places(clock=clock))
