"""Memory pressure as this pod lives it: what was judged is told, and what relieves is ordered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from paddock_api.errors import Code, PaddockError
from paddock_api.events import EventType
from paddock_api.state import Pressure
from paddock_runtime.engine.protocol import Trim
from paddock_runtime.lifecycle.pressure import Reading, Situation, Thresholds, judge, relief
from paddock_runtime.lifecycle.units import EngineStage, UnitState

if TYPE_CHECKING:
    from paddock_runtime.lifecycle.core import Core

_log = logging.getLogger(__name__)


class Relieving:
    """`holds`: nothing new may be loaded now. `refuses`: nor will it soon, for nothing idle is left to unload."""

    def __init__(self, core: Core, thresholds: Thresholds) -> None:
        self._core, self._thresholds = core, thresholds
        self._situation = Situation()
        self.reading: Reading | None = None
        self.holds = self.refuses = False
        self._order = 0

    @property
    def level(self) -> Pressure:
        return self._situation.level

    def observe(self, reading: Reading) -> None:
        """After each measurement."""
        before, now = self._situation, judge(self._situation, reading, self._thresholds)
        self.reading, self._situation = reading, now
        core = self._core
        leaving = any(unit.state is UnitState.LEAVING for unit in core.pool.units.values())
        wanted = relief(before, now, reading, self._thresholds, leaving=leaving)
        held, self.holds, self._order = self.holds, wanted.hold, wanted.free_bytes
        self.refuses = self.refuses and self.holds
        if now.level is not before.level:
            self._tell(before, now)
        if wanted.trim:
            for engine in core.pool.engines.values():
                if engine.stage is EngineStage.READY:
                    engine.client.send(Trim())
        if self._order or held != self.holds:
            core.poke()

    def take_order(self) -> int:
        """Bytes that idle contexts are to free, once: the next order comes with the next measurement."""
        order, self._order = self._order, 0
        return order

    def carried_out(self, *, ordered: bool, evicted: bool) -> None:
        """What came of an order. While something leaves, who waits for a load may hope."""
        if ordered:
            self.refuses = self.holds and not evicted

    def error(self) -> PaddockError:
        return PaddockError(
            Code.MEMORY_PRESSURE, f"this pod loads nothing now: {self._situation.why}, and all that is loaded is in "
            "use or pinned. Try again later, add pods, or raise the memory of the pool",
            retry_after=self._core.limits.hold_retry_after)

    def _tell(self, before: Situation, now: Situation) -> None:
        why = now.why
        self._core.bus.publish(EventType.PRESSURE, **{"from": before.level.value, "to": now.level.value, "why": why})
        log = _log.info if now.level is Pressure.OK else _log.warning
        log("memory pressure is %s: %s", now.level.value, why)
