"""Which Model is asked after which, by the same tenant. Bounded; each request costs a few steps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from paddock_runtime.predict.types import Guess, Habits

_NOTHING = ""  # in place of the next Model: none came, or one that is too rare to be counted


class Follows:
    def __init__(self, habits: Habits) -> None:
        self._habits = habits
        self._last: OrderedDict[str, tuple[str, float, float]] = OrderedDict()  # tenant → Model, since, asked last
        self._next: OrderedDict[str, dict[str, float]] = OrderedDict()  # Model → the next one → how often
        self._pending: dict[str, Guess] = {}

    def asked(self, model: str, tenant: str, now: float) -> bool:
        """Whether there is a guess that was not there before."""
        self._pending.pop(model, None)
        before, since, at = self._last.pop(tenant, (_NOTHING, now, now))
        fresh = now - at <= self._habits.window
        if before != _NOTHING and (before != model or not fresh):
            self._count(before, model if fresh else _NOTHING)
        self._last[tenant] = (model, since if before == model and fresh else now, now)
        while len(self._last) > self._habits.tenants:
            self._last.popitem(last=False)
        return self._expect(model, self._last[tenant][1], now)

    def guesses(self, now: float) -> list[Guess]:
        self._pending = {model: guess for model, guess in self._pending.items() if guess.until > now}
        return list(self._pending.values())

    def keep(self, models: Collection[str]) -> None:
        """Forgets all others."""
        self._next = OrderedDict((model, counts) for model, counts in self._next.items() if model in models)
        for counts in self._next.values():
            for name in [name for name in counts if name != _NOTHING and name not in models]:
                counts[_NOTHING] = counts.get(_NOTHING, 0.0) + counts.pop(name)
        self._pending = {model: guess for model, guess in self._pending.items() if model in models}

    def snapshot(self) -> dict[str, Any]:
        return {model: dict(counts) for model, counts in self._next.items()}

    def restore(self, kept: dict[str, Any]) -> None:
        """Takes what is well-formed."""
        for model, counts in list(kept.items())[-self._habits.models:]:
            if isinstance(counts, dict):
                good = {str(name): float(count) for name, count in counts.items()
                        if isinstance(count, int | float) and 0 < count <= self._habits.memory}
                self._next[model] = dict(list(good.items())[:self._habits.successors + 1])

    def _expect(self, model: str, made: float, now: float) -> bool:
        known = len(self._pending)
        counts = self._next.get(model, {})
        total = sum(counts.values()) + 1  # this time is not decided yet
        for name, count in counts.items():
            certainty = count / total
            if name == _NOTHING or count < self._habits.twice or certainty < self._habits.least:
                continue
            guess = self._pending.get(name, Guess(model=name, certainty=0.0, made=made, until=now))
            self._pending[name] = replace(guess, certainty=max(certainty, guess.certainty),
                                          until=now + self._habits.window)
        return len(self._pending) > known

    def _count(self, before: str, after: str) -> None:
        counts = self._next.pop(before, {})
        self._next[before] = counts
        while len(self._next) > self._habits.models:
            self._next.popitem(last=False)
        counts[after] = counts.get(after, 0.0) + 1.0
        named = [name for name in counts if name not in (_NOTHING, after)]
        if len(named) >= self._habits.successors:
            rare = min(named, key=lambda name: counts[name])
            counts[_NOTHING] = counts.get(_NOTHING, 0.0) + counts.pop(rare)
        if sum(counts.values()) > self._habits.memory:
            self._next[before] = {name: count / 2 for name, count in counts.items() if count >= 1.0}
