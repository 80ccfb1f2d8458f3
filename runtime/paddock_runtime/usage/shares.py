"""Whose memory it is: an engine's, divided among the Models that use it. Pure.

A context's charge belongs to the Models that use the context, the rest (weights, the process) to all that use the
engine, in equal parts. Who shares a context but never asked for it pays nothing; what nobody uses is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.units import Engine, Unit
from paddock_runtime.usage.division import divide


def uses(model: Model, unit: Unit, now: float) -> bool:
    """Whether `unit` is in memory for `model`: it works or waits there, is kept there, or did so a short while ago."""
    serving = model.active is not None and model.active.context == unit.key
    coming = model.candidate.context == unit.key
    if not serving and not coming:
        return False
    if model.queue or (serving and model.busy):
        return True
    if coming and (model.asked is not None or (model.assigned and not model.asleep and not model.removed)):
        return True
    moments = [model.last_used] if model.last_used is not None and model.last_used >= unit.loaded_at else []
    if unit.target.model == model.id and unit.guess is None:
        moments.append(unit.loaded_at or now)  # it was loaded for it
    target = model.active if serving and model.active is not None else model.candidate
    return any(now - moment < max(target.idle_timeout, target.min_residency) for moment in moments)


def parts(engine: Engine, size: int, users: Callable[[Unit], Iterable[Model]], now: float
          ) -> list[tuple[int, list[Model]]]:
    """`size` bytes in pieces, each with the Models that use it. The pieces add up to `size`."""
    using = {unit.key: [model for model in users(unit) if uses(model, unit, now)] for unit in engine.units.values()}
    charges = {unit.key: unit.context_bytes for unit in engine.units.values()}
    contexts = min(size, sum(charges.values()))
    pieces = divide(contexts, charges) if contexts else {}
    everyone = list(dict.fromkeys(model for models in using.values() for model in models))
    return [(size - contexts, everyone), *((piece, using[key]) for key, piece in pieces.items())]


def divided(pieces: Iterable[tuple[int, list[Model]]]) -> tuple[dict[Model, int], int]:
    """What each Model has of it, and what is nobody's."""
    shares: dict[Model, int] = {}
    nobody = 0
    for size, models in pieces:
        if not models:
            nobody += size
            continue
        for model, part in divide(size, dict.fromkeys(sorted(models, key=lambda each: each.id), 1)).items():
            shares[model] = shares.get(model, 0) + part
    return shares, nobody
