"""`spec.loading.warmup`: prompts of a Model's owner, prefilled after a load for whoever begins with them.

They are kept under the Model's own salt, in which every tenant's requests look too. Nothing of a tenant's is ever
kept under it, so nobody learns anything of others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from paddock_runtime.engine.protocol import Delta, Embedded, Generate, Rejected, Sampling, Started
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.units import Engine, Unit

_log = logging.getLogger(__name__)


class Desk(Protocol):
    def users(self, unit: Unit) -> list[Model]: ...

    def ready_unit(self, model: Model) -> Unit | None: ...

    def occupied(self, unit: Unit) -> None: ...

    def vacated(self, unit: Unit) -> None: ...


class WarmUps:
    """One prompt at a time, and the next only while no request runs or waits. The engine puts it aside for requests
    that come meanwhile."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._at_work: dict[tuple[str, str], Engine] = {}  # what was in an engine that crashed is not tried again

    def tend(self, unit: Unit) -> None:
        """Sends the next prompt, if it is time for one."""
        if unit.warming or unit.running or not unit.admits or unit.engine.exclusive is not None:
            return
        models = [model for model in self._desk.users(unit) if self._desk.ready_unit(model) is unit]
        if any(model.queue for model in models):
            return
        for model, prompt in self._left(unit, models):
            unit.warmed.add((str(model.id), prompt))
            before = self._at_work.get((str(model.id), prompt))
            if before is not None and before.error is not None:
                _log.warning("an engine died while it computed a prompt of spec.loading.warmup of %s: it is left out",
                             model.id)
                continue
            self._send(unit, model, prompt)
            return

    @staticmethod
    def _left(unit: Unit, models: Iterable[Model]) -> list[tuple[Model, str]]:
        return [(model, prompt) for model in models if model.active is not None
                for prompt in model.active.revision.spec.loading.warmup if (str(model.id), prompt) not in unit.warmed]

    def _send(self, unit: Unit, model: Model, prompt: str) -> None:
        engine = unit.engine
        number = next(engine.requests)
        self._at_work[str(model.id), prompt] = engine
        unit.warming = True
        engine.receivers[number] = _Prefill(self, unit, model, prompt, number)
        self._desk.occupied(unit)
        engine.client.send(Generate(
            id=number, context=unit.number, salt=model.salt, shared=model.salt, background=True, prompt=prompt,
            max_tokens=1, sampling=Sampling(temperature=0.0)))

    def done(self, unit: Unit, model: Model, prompt: str, number: int) -> None:
        self._at_work.pop((str(model.id), prompt), None)
        unit.engine.receivers.pop(number, None)
        unit.warming = False
        self._desk.vacated(unit)


class _Prefill:
    """A prompt on its way, as the engine's reports see it."""

    def __init__(self, owner: WarmUps, unit: Unit, model: Model, prompt: str, number: int) -> None:
        self._owner, self._unit, self._model, self._prompt, self._number = owner, unit, model, prompt, number

    @property
    def fingerprint(self) -> str:
        return f"{self._model.id}\nwarm-up"

    def started(self, report: Started) -> None:
        """It says nothing that anybody waits for."""

    def embedded(self, report: Embedded) -> None:
        """It asks for text."""

    def delta(self, delta: Delta) -> None:
        if delta.finish is not None:
            self._done()

    def rejected(self, report: Rejected) -> None:
        place = self._model.entry.desired.spec.loading.warmup
        which = place.index(self._prompt) if self._prompt in place else "?"
        _log.warning("spec.loading.warmup[%s] of %s can't be computed: %s", which, self._model.id, report.message)
        self._done()

    def _done(self) -> None:
        self._owner.done(self._unit, self._model, self._prompt, self._number)
