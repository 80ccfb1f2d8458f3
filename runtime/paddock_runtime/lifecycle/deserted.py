"""Loads that nobody has use for any more: those who waited have left, or an unload was asked for.

A client that gives up and comes again must not make a load begin anew each time. So a load goes on for a while after
the last one left, and for twice as long after each time that it was given up in vain.
"""

from __future__ import annotations

from collections.abc import Collection

from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.plan import wanted_since
from paddock_runtime.lifecycle.units import Unit, UnitState

_MOST_DOUBLINGS = 6


def deserted_until(unit: Unit, users: Collection[Model], *, grace: float, now: float) -> float | None:
    """The moment at which the load of `unit` is to be given up; None while somebody has use for it.

    Keeps in `unit` since when nobody has. An engine that loads for others too is left alone, and so is what nobody
    asked for: a guess, and what comes back after a restart. What Models that were removed leave behind is not judged
    here: its weights may be on their way to others."""
    users = [model for model in users if not model.removed]
    loading = unit.state is UnitState.LOADING
    if not loading or not users or unit.guess is not None or any(_wants(model, unit) for model in users):
        unit.deserted_at = None
        return None
    if unit.deserted_at is None:
        unit.deserted_at = now
    if any(other is not unit for other in unit.engine.units.values()):
        return None
    if all(model.asleep for model in users):
        return now  # on request: nobody is expected back
    tried = min(_MOST_DOUBLINGS, max((model.given_up for model in users), default=0))
    return unit.deserted_at + grace * 2.0 ** tried


def _wants(model: Model, unit: Unit) -> bool:
    asked = wanted_since(model) is not None or (model.assigned and not model.asleep) or model.returning is not None
    return asked and model.candidate.context == unit.key
