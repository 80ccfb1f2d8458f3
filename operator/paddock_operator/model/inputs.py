"""All that a Model's status is decided from."""

from __future__ import annotations

from dataclasses import dataclass

from paddock_api.model import Model
from paddock_api.status import ModelFacts
from paddock_operator.model.access import Refusal
from paddock_operator.model.picture import Picture


@dataclass(frozen=True)
class Pinned:
    """The source is resolved, and makes this revision. `estimated`: bytes one replica takes; None: nobody knows yet."""

    revision: str
    facts: ModelFacts
    estimated: int | None


@dataclass(frozen=True)
class Failed:
    """The source is not resolved. `serving`: the earlier revision that the pods still have. `passing`: it is tried
    again by itself."""

    reason: str
    message: str
    passing: bool
    serving: str | None = None


@dataclass(frozen=True)
class NotTried:
    """The Model may not run where it wants to, so nobody asked its source."""


Outcome = Pinned | Failed | NotTried


@dataclass(frozen=True, kw_only=True)
class Input:
    """`last_good`: the revision proven last. `budget`: bytes that engines of one pod may take. `unplaced`: it must stay
    loaded, and there is no room for that. `now` is Unix seconds."""

    model: Model
    refusal: Refusal | None
    outcome: Outcome
    picture: Picture
    last_good: str | None = None
    budget: int | None = None
    pool_replicas: int | None = None
    unplaced: bool = False
    now: float

    @property
    def wanted(self) -> str | None:
        """The revision that the pods are told to run."""
        if isinstance(self.outcome, Pinned):
            return self.outcome.revision
        return self.outcome.serving if isinstance(self.outcome, Failed) else None
