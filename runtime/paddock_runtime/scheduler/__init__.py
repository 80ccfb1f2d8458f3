"""The scheduler: a pure function from what is in memory and who waits to what to load, evict and refuse."""

from paddock_runtime.scheduler.decide import decide
from paddock_runtime.scheduler.popularity import Popularity
from paddock_runtime.scheduler.types import (
    Action,
    Budget,
    Decision,
    Evict,
    EvictReason,
    Load,
    Refuse,
    Resident,
    State,
    Wanted,
)

__all__ = ["Action", "Budget", "Decision", "Evict", "EvictReason", "Load", "Popularity", "Refuse", "Resident", "State",
           "Wanted", "decide"]
