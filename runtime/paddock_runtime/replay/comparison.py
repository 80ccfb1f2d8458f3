"""Budgets and policies side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from paddock_runtime.replay.report import Outcome
from paddock_runtime.replay.simulator import replay
from paddock_runtime.replay.strategies import STRATEGIES, Strategy
from paddock_runtime.replay.trace import Trace
from paddock_runtime.scheduler import Budget


@dataclass(frozen=True, slots=True)
class Compared:
    """One replay: which policy with how many bytes."""

    policy: str
    memory_bytes: int
    outcome: Outcome


def compare(trace: Trace, budget: Budget, memory: Iterable[int],
            strategies: Mapping[str, Strategy] = STRATEGIES) -> list[Compared]:
    """A replay for each amount of memory (bytes) and each strategy; all else of `budget` holds for all."""
    return [Compared(policy, size, replay(trace, replace(budget, memory_bytes=size), strategy))
            for size in memory for policy, strategy in strategies.items()]
