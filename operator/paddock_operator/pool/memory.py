"""What is remembered of a pool between two passes; all of it can be lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from paddock_operator.clock import Clock
from paddock_operator.objects.shards import Shards
from paddock_operator.pool.pace import Pace
from paddock_operator.pool.places import Places


@dataclass
class PoolMemory:
    """Times are of the monotonic clock. `token`: (uid of the pool, token, when) of the Secret written last.
    `annotated`: by pod uid, when. `shrinking`: since when fewer pods are wanted."""

    places: Places
    pace: Pace = field(default_factory=Pace)
    shards: Shards | None = None
    token: tuple[str, str, float] | None = None
    annotated: dict[str, float] = field(default_factory=dict)
    shrinking: float | None = None
    status_written: float | None = None


def fresh(clock: Clock) -> PoolMemory:
    return PoolMemory(places=Places(clock=clock))
