"""How near memory is to its limits, and what relieves it before anything is killed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from paddock_api.state import Pressure

_RANK = {Pressure.OK: 0, Pressure.HIGH: 1, Pressure.CRITICAL: 2}


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Shares of a limit. A level that was reached is left `margin` below where it begins, so that it does not flap.

    `stalled`: percent of time in which everything waits for memory that count as `high` by themselves."""

    high: float = 0.90
    critical: float = 0.96
    margin: float = 0.04
    stalled: float = 20.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Bytes. `measured`: of all children, against `budget`; `used`: of the container, against `limit` if it has one."""

    measured: int
    budget: int
    used: int = 0
    limit: int | None = None
    stalled: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The level of each source. `lasting`: it is critical, and was at the last reading too."""

    budget: Pressure = Pressure.OK
    container: Pressure = Pressure.OK
    stall: Pressure = Pressure.OK
    lasting: bool = False

    @property
    def level(self) -> Pressure:
        return max(self.budget, self.container, self.stall, key=_RANK.__getitem__)

    @property
    def why(self) -> str:
        """The source that is worst, in words."""
        words = {"budget": "the engines nearly fill the budget", "container": "the container nearly fills its limit",
                 "stall": "everything waits for memory"}
        if self.level is Pressure.OK:
            return "there is enough"
        return next(text for name, text in words.items() if getattr(self, name) is self.level)


@dataclass(frozen=True, kw_only=True)
class Relief:
    """`trim`: caches are to shrink. `free_bytes`: idle contexts are to leave until so much is free. `hold`: nothing
    new may be loaded."""

    trim: bool = False
    free_bytes: int = 0
    hold: bool = False


def level(before: Pressure, used: int, limit: int, thresholds: Thresholds) -> Pressure:
    """The level of `used` against `limit`, given the one before."""
    share = used / max(1, limit)
    for reached in (Pressure.CRITICAL, Pressure.HIGH):
        begins = thresholds.critical if reached is Pressure.CRITICAL else thresholds.high
        stays = _RANK[before] >= _RANK[reached]
        if share >= (begins - thresholds.margin if stays else begins):
            return reached
    return Pressure.OK


def judge(before: Situation, reading: Reading, thresholds: Thresholds) -> Situation:
    budget = level(before.budget, reading.measured, reading.budget, thresholds)
    container = Pressure.OK if reading.limit is None else level(
        before.container, reading.used, reading.limit, thresholds)
    stall = thresholds.stalled if before.stall is Pressure.OK else thresholds.stalled / 2
    critical = Pressure.CRITICAL in (budget, container)
    return Situation(budget=budget, container=container,
                     stall=Pressure.HIGH if reading.stalled >= stall else Pressure.OK,
                     lasting=critical and before.level is Pressure.CRITICAL)


def relief(before: Situation, now: Situation, reading: Reading, thresholds: Thresholds, *, leaving: bool) -> Relief:
    """Caches first; contexts that are idle when that did not help and nothing is `leaving` already. Loads are held
    while the container itself is short: what fits the budget by its charge can't harm the budget."""
    order = 0
    if now.lasting and not leaving:
        target = thresholds.critical - thresholds.margin
        if now.budget is Pressure.CRITICAL:
            order = reading.measured - int(target * reading.budget)
        if now.container is Pressure.CRITICAL and reading.limit is not None:
            order = max(order, reading.used - int(target * reading.limit))
    return Relief(trim=_RANK[now.level] > _RANK[before.level], free_bytes=max(0, order),
                  hold=now.container is Pressure.CRITICAL)
