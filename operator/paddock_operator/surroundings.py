"""What all reconciles work with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from paddock_operator.clock import Clock, monotonic
from paddock_operator.cluster.writer import Writer
from paddock_operator.pods.reports import Reports
from paddock_operator.published import Published
from paddock_operator.world import World


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """`instance` names this process in events; `pace`: least seconds between two statuses of one object that only
    follow its pods; `burst()`: whether Models are being worked on that may change their pools."""

    world: World
    writer: Writer
    reports: Reports
    published: Published
    instance: str
    burst: Callable[[], bool]
    pace: float = 1.0
    clock: Clock = monotonic
    wall: Callable[[], float] = time.time
