"""What pools were told, by the hash that pods report back: so a pod's failure is known to be the wanted revision's."""

from __future__ import annotations

from collections import OrderedDict

from paddock_api.identity import ModelId
from paddock_api.pool import PoolConfig
from paddock_operator.store import Key

_KEPT = 8


class Published:
    def __init__(self) -> None:
        self._by_pool: dict[Key, OrderedDict[str, dict[str, str]]] = {}
        self._unplaced: dict[Key, frozenset[ModelId]] = {}

    def learn(
        self, pool: Key, config_hash: str, config: PoolConfig, unplaced: frozenset[ModelId]
    ) -> frozenset[ModelId]:
        """The pool's newest configuration. Returns the Models whose being placed changed."""
        known = self._by_pool.setdefault(pool, OrderedDict())
        if config_hash not in known:
            known[config_hash] = {name: entry.desired.id for name, entry in config.models.items()}
        known.move_to_end(config_hash)
        while len(known) > _KEPT:
            known.popitem(last=False)
        before = self._unplaced.get(pool, frozenset())
        self._unplaced[pool] = unplaced
        return before ^ unplaced

    def told(self, pool: Key, config_hash: str, model: ModelId) -> str | None:
        """The revision of the Model that a configuration with this hash wanted; None if that is not known."""
        known = self._by_pool.get(pool)
        return known[config_hash].get(str(model)) if known is not None and config_hash in known else None

    def unplaced(self, pool: Key, model: ModelId) -> bool:
        """Whether the Model must stay loaded and there is no room for that."""
        return model in self._unplaced.get(pool, ())

    def forget(self, pool: Key) -> None:
        self._by_pool.pop(pool, None)
        self._unplaced.pop(pool, None)
