"""Models that are likely to be asked soon are loaded into spare room: what was guessed, and how often it was right."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from paddock_api.identity import ModelId
from paddock_api.pool_settings import PoolSettings
from paddock_runtime.lifecycle.models import Model
from paddock_runtime.lifecycle.runs import Run
from paddock_runtime.lifecycle.units import Unit
from paddock_runtime.predict.predictor import Predictor
from paddock_runtime.predict.types import Guess
from paddock_runtime.scheduler import Wanted

if TYPE_CHECKING:
    from paddock_runtime.lifecycle.core import Core

_REMEMBERED = 256  # guesses that were tried


@dataclass
class Guesses:
    """Loads on a guess, and those that were used before they left. What is in memory and unused is in neither yet."""

    loads: int = 0
    hits: int = 0
    misses: int = 0


class Foresight:
    """Off until the pool's settings turn it on. A guess is tried once: who was driven out stays out."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._percent = 0
        self.predictor = Predictor()
        self.record = Guesses()
        self.news = False  # something was learned that nobody has written down
        self._offered: dict[str, tuple[Model, Guess]] = {}  # by context
        self._tried: OrderedDict[str, float] = OrderedDict()  # Model → the guess's `made`

    @property
    def on(self) -> bool:
        return self._percent > 0

    @property
    def budget_bytes(self) -> int:
        """What may be loaded on guesses."""
        return self._core.memory_bytes * self._percent // 100

    def configure(self, settings: PoolSettings, models: Collection[ModelId]) -> None:
        self._percent = settings.preload_percent
        if self.on:
            self.predictor.keep({str(model) for model in models})
            return
        for unit in self._core.pool.units.values():
            if unit.guess is not None:  # its time is over
                unit.guess = replace(unit.guess, until=unit.guess.made)

    def stop(self) -> None:
        """No more guesses: the pod is about to end."""
        self._percent = 0

    def wanted(self, model: Model) -> None:
        """Somebody wants it: it may be what was guessed, and then it is loaded like any other."""
        for target in model.targets():
            unit = self._core.pool.units.get(target.context or "")
            if unit is not None and unit.guess is not None:
                unit.guess = None
                self.record.hits += 1

    def asked(self, run: Run) -> None:
        """A request came; it may lead to new guesses."""
        self.wanted(run.model)
        if self.on:
            self.news = True
            if self.predictor.asked(str(run.model.id), run.job.tenant, self._core.clock.wall()):
                self._core.poke()

    def wants(self, taken: Collection[str], now: float) -> list[Wanted]:
        """The guesses that could be loaded; `taken`: contexts that somebody wants anyway."""
        self._offered = {}
        if not self.on:
            return []
        wants = []
        for guess in self.predictor.guesses(self._core.clock.wall()):
            model = self._core.registry.models.get(_id(guess.model))
            if model is None or not self._possible(model, guess):
                continue
            prepared = model.candidate.prepared
            if prepared is None or prepared.context in self._offered or prepared.context in taken:
                continue
            self._offered[prepared.context] = (model, guess)
            wants.append(Wanted(
                key=prepared.context, weights=prepared.weights, context_bytes=prepared.charge.context_bytes,
                weights_bytes=self._core.learned.weights_bytes(
                    prepared.weights, prepared.charge.weights_bytes, context_bytes=prepared.charge.context_bytes,
                    budget=self._core.memory_bytes),
                since=now, priority=model.candidate.priority, spare=True, guessed=guess.certainty))
        return wants

    def offered(self, context: str) -> Model | None:
        """The Model that a guess was offered for in this decision."""
        found = self._offered.get(context)
        return None if found is None else found[0]

    def opened(self, unit: Unit) -> None:
        """It is being loaded; on a guess, if one was offered."""
        found = self._offered.get(unit.key)
        if found is None:
            return
        model, guess = found
        unit.guess = guess
        self.record.loads += 1
        self._tried[str(model.id)] = guess.made
        self._tried.move_to_end(str(model.id))
        while len(self._tried) > _REMEMBERED:
            self._tried.popitem(last=False)

    def gone(self, unit: Unit) -> None:
        if unit.guess is not None:
            unit.guess = None
            self.record.misses += 1

    def _possible(self, model: Model, guess: Guess) -> bool:
        target = model.candidate
        free = target.context is not None and target.context not in self._core.pool.units
        return free and not model.asleep and target.failure is None and model.active is None \
            and self._tried.get(guess.model) != guess.made


def _id(name: str) -> ModelId:
    """Never fails: what was read from a file may name anything."""
    namespace, _, rest = name.partition("/")
    return ModelId(namespace, rest)
