"""After a restart: what was in memory comes back by itself, the most valuable first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paddock_runtime.lifecycle.models import Model
    from paddock_runtime.lifecycle.units import Unit

# Beyond any priority that a Model can have: what policy keeps in memory goes before what only was there.
_BEHIND = 10_000
_STEP = 1e-3  # seconds between two in the line


class Return(NamedTuple):
    """A Model is to come back until then; `since` orders those of one priority; until `patient` it lets the more
    valuable go first. Monotonic seconds."""

    since: float
    patient: float
    until: float


class Returning:
    """Those that were loaded, as a line: the last used first."""

    def __init__(self, loaded: Iterable[str], last_use: Callable[[str], float], *, start: float, patient: float,
                 until: float) -> None:
        line = sorted(loaded, key=lambda name: (-last_use(name), name))
        self._line: Mapping[str, int] = {name: place for place, name in enumerate(line)}
        self._start, self._patient, self._until = start, patient, until

    def place(self, name: str) -> Return | None:
        """None for a Model that was not in memory."""
        place = self._line.get(name)
        return None if place is None else Return(self._start + place * _STEP, self._patient, self._until)


def returns(model: Model, now: float) -> bool:
    """Whether it is still to come back. What nobody asked for evicts nothing, so it may find no room; in the end it is
    let go by, lest it comes as a surprise."""
    return model.returning is not None and now < model.returning.until


def held_back(models: Iterable[Model], now: float) -> set[Model]:
    """Those that let others go first: of these the files are not looked at yet, and room may be for one only."""
    coming = [model for model in models if _kept(model) or returns(model, now)]
    unknown = [model for model in coming if model.candidate.prepared is None
               and (model.candidate.failure is None or not model.candidate.failure.blocks(now))]
    if not unknown:
        return set()
    first = max(map(_worth, unknown))
    return {model for model in coming if model.returning is not None and not _kept(model)
            and now < model.returning.patient and _worth(model) < first}


def _worth(model: Model) -> tuple[bool, int, float]:
    since = 0.0 if model.returning is None else model.returning.since
    return _kept(model), model.candidate.priority, -since


def _kept(model: Model) -> bool:
    return model.assigned and not model.asleep


def priority_of(model: Model, spare: bool) -> int:
    """Among the spare loads."""
    return model.candidate.priority - (_BEHIND if spare and not _kept(model) else 0)


def take_up(unit: Unit, users: Iterable[Model]) -> None:
    """A context that came back by itself was last used when its Models were: its load is no use of it."""
    users = list(users)
    used = [model.last_used for model in users if model.returning is not None and model.last_used is not None]
    if used and not any(model.queue for model in users):
        unit.last_used = max(used)
