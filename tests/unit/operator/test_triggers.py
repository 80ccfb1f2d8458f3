"""Which change asks for which pass."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api.cluster_names import MANAGED_BY, pool_labels, revision_labels
from paddock_operator.cluster.resources import CONFIG_MAPS, MODELS, NAMESPACES, POOLS, STATEFUL_SETS, Resource
from paddock_operator.store import Key
from paddock_operator.triggers import Triggers
from paddock_operator.world import World

POOL, GEMMA, OTHER = Key("sys", "default"), Key("team-a", "gemma"), Key("team-b", "gemma")


class Asked:
    """A queue that only notes."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def add(self, key: Key, delay: float = 0.0) -> None:
        self.keys.append(key)


class Heard:
    """A world whose changes come in by `learn`; `models` and `pools` give what was asked for since."""

    def __init__(self) -> None:
        self.world = World(default_pool=POOL, operator_namespace="sys")
        self._models, self._pools, self._version = Asked(), Asked(), 0
        self.pods = 0
        Triggers(self.world, self._models, self._pools, self._pod).connect()  # type: ignore[arg-type]  # only add is used

    def learn(self, resource: Resource, key: Key, *, own: bool = False, labels: dict[str, str] | None = None,
              generation: int = 1, **more: Any) -> None:
        self._version += 1
        metadata = {"namespace": key.namespace, "name": key.name, "uid": f"uid-{key}", "generation": generation,
                    "resourceVersion": str(self._version), "labels": labels or {}}
        self.world.store(resource).learn({"kind": resource.kind, "metadata": metadata, **more}, own=own)

    def asked(self) -> tuple[set[Key], set[Key]]:
        found = set(self._models.keys), set(self._pools.keys)
        self._models.keys, self._pools.keys = [], []
        return found

    def _pod(self) -> None:
        self.pods += 1


@pytest.fixture
def heard() -> Heard:
    found = Heard()
    found.learn(POOLS, POOL)
    for key in (GEMMA, OTHER):
        found.learn(MODELS, key, spec={})
    found.asked()
    return found


def test_a_namespace_that_is_heard_of_after_its_models_wakes_them(heard: Heard) -> None:
    """The watches of two kinds keep no order among each other, and its labels say which pools are open to it."""
    heard.learn(NAMESPACES, Key("", "team-a"), labels={"tier": "gold"})
    assert heard.asked() == ({GEMMA}, {POOL})
    heard.learn(NAMESPACES, Key("", "team-a"), labels={"tier": "gold"}, status={"phase": "Active"})
    assert heard.asked() == (set(), set())
    heard.learn(NAMESPACES, Key("", "team-a"), labels={"tier": "lead"})
    assert heard.asked() == ({GEMMA}, {POOL})
    heard.learn(NAMESPACES, Key("", "nobody"), labels={"tier": "gold"})
    assert heard.asked() == (set(), set())


def test_what_this_process_wrote_asks_for_no_pass_of_its_own_object(heard: Heard) -> None:
    heard.learn(MODELS, GEMMA, own=True, spec={}, status={"revision": "r1"})
    assert heard.asked() == (set(), {POOL}), "but the pool's configuration changes"
    heard.learn(MODELS, GEMMA, spec={}, status={"revision": "r1"})
    assert heard.asked() == (set(), set())
    heard.learn(MODELS, GEMMA, generation=2, spec={}, status={"revision": "r1"})
    assert heard.asked() == ({GEMMA}, {POOL})


def test_a_model_that_moves_concerns_both_pools(heard: Heard) -> None:
    heard.learn(MODELS, GEMMA, generation=2, spec={"poolRef": {"namespace": "team-a", "name": "own"}})
    assert heard.asked() == ({GEMMA}, {POOL, Key("team-a", "own")})


def test_a_pool_that_changes_concerns_its_models(heard: Heard) -> None:
    heard.learn(POOLS, POOL, generation=2)
    assert heard.asked() == ({GEMMA, OTHER}, {POOL})
    heard.learn(POOLS, POOL, generation=2, status={"replicas": 1})
    assert heard.asked() == (set(), set())


def test_children_concern_their_owners_and_nobody_elses(heard: Heard) -> None:
    heard.learn(STATEFUL_SETS, Key("sys", "default-runtime"), labels=pool_labels("sys", "default"))
    assert heard.asked() == (set(), {POOL})
    heard.learn(STATEFUL_SETS, Key("sys", "default-runtime"), own=True, labels=pool_labels("sys", "default"))
    assert heard.asked() == (set(), set())
    heard.learn(CONFIG_MAPS, Key("team-a", "gemma-r1"), labels=revision_labels("gemma", "r1"))
    assert heard.asked() == ({GEMMA}, {POOL})
    heard.learn(CONFIG_MAPS, Key("team-a", "other"), labels={"app.kubernetes.io/managed-by": MANAGED_BY})
    assert heard.asked() == (set(), set())
    assert heard.pods == 0
