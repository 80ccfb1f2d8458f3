"""Equal states of one Model are one object: of thousands of Models that nobody asks for, all pods say the same."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakValueDictionary

from paddock_api.identity import ModelId
from paddock_api.state import ModelState


class Shared:
    """Keeps nothing alive. Who gets a state from here must not change it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[ModelId, ModelState] = WeakValueDictionary()

    def by_model(self, states: Iterable[ModelState]) -> dict[ModelId, ModelState]:
        found = {}
        for state in states:
            known = self._known.get(ModelId(state.namespace, state.name))
            if known is None or known != state:
                known = state
                self._known[ModelId(state.namespace, state.name)] = state
            # Named by the texts of the one that is kept, so that the other's go.
            found[ModelId(known.namespace, known.name)] = known
        return found
