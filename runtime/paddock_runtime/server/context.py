"""What the routes work with: the lifecycle, the renderer, the bus, and the settings of the HTTP server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from paddock_api.history import ModelHistory
from paddock_api.identity import ModelId
from paddock_api.state import Pressure
from paddock_runtime.bus import Bus
from paddock_runtime.jobs import Service
from paddock_runtime.metrics import Metrics
from paddock_runtime.openai.body import MAX_BODY_BYTES
from paddock_runtime.openai.chat import Render
from paddock_runtime.server.guard import PoolToken
from paddock_runtime.usage.collector import UsageSource


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All in seconds or bytes.

    hold: how long a request waits for its Model to be loaded; deadline: for everything.
    headers_after: a stream that has nothing by then gets its headers and heartbeats, one each `heartbeat`.
    idle_heartbeat: the same between tokens, for the proxies on the way.
    stall: a reader that takes nothing for so long is cut. body_timeout: to send the request's body.
    """

    hold: float = 300.0
    deadline: float = 3600.0
    headers_after: float = 2.0
    heartbeat: float = 2.0
    idle_heartbeat: float = 15.0
    stall: float = 30.0
    body_timeout: float = 60.0
    max_body: int = MAX_BODY_BYTES
    tenant: str = "local"


def _nothing() -> None:
    return None


def _no_pressure() -> Pressure:
    return Pressure.OK


@dataclass(kw_only=True)
class Context:
    """`ailment` says what of the supervisor has stopped, `pressure` how near memory is to its limits.
    `ending` is set when the listener closes: endless streams leave then.
    `token`: what clients must show; without one all may ask. `history` raises NoRecord. `directory`: of the manifests,
    if they are local ones. `usage`: who counts what is used."""

    service: Service
    render: Render
    bus: Bus
    metrics: Metrics = field(default_factory=Metrics)
    settings: Settings = field(default_factory=Settings)
    ailment: Callable[[], str | None] = _nothing
    pressure: Callable[[], Pressure] = _no_pressure
    token: PoolToken | None = None
    history: Callable[[ModelId], Awaitable[ModelHistory]] | None = None
    directory: Path | None = None
    usage: UsageSource | None = None
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    started: int = field(default_factory=lambda: int(time.time()))
