"""What watchers report becomes one snapshot, and wakes those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.state import Phase
from paddock_gateway.fleet.snapshot import PoolId, PoolInfo
from paddock_gateway.fleet.view import PodView, read_state
from paddock_gateway.fleet.world import Endpoint, PodKey, World
from tests.unit.gateway.fleet_kit import POOL, model, state_json

_KEY = PodKey(POOL, "default-runtime-0")
_SLICE = ("paddock-system", "default-runtime-abc")


def _endpoint(key: PodKey = _KEY, *, ready: bool = True, url: str = "http://10.0.0.1:8080") -> Endpoint:
    return Endpoint(key=key, url=url, ready=ready)


def _view(phase: str = "Ready") -> PodView:
    return read_state(state_json({"phase": phase}))


async def test_a_pod_is_in_the_snapshot_when_it_is_ready_and_has_spoken() -> None:
    world = World()
    world.put_slice(_SLICE, (_endpoint(),))
    world.settle()
    assert world.snapshot.pods == {}
    assert world.snapshot.silent == {POOL: 1}
    world.put_view(_KEY, _view())
    world.settle()
    (pod,) = world.snapshot.pods[POOL]
    assert (pod.name, pod.url, pod.held(model().id).phase) == ("default-runtime-0", "http://10.0.0.1:8080", Phase.READY)
    world.put_slice(_SLICE, (_endpoint(ready=False),))
    world.settle()
    assert world.snapshot.pods == {}
    world.put_slice(_SLICE, (_endpoint(),))
    world.settle()
    assert len(world.snapshot.pods[POOL]) == 1, "what it holds was not forgotten"


async def test_who_can_not_be_reached_holds_nothing() -> None:
    world = World()
    world.put_slice(_SLICE, (_endpoint(),))
    world.put_view(_KEY, _view())
    world.drop_view(_KEY)
    world.settle()
    assert world.snapshot.silent == {POOL: 1}


async def test_a_pod_in_two_slices_is_one_pod() -> None:
    """A Service of two address families has two slices."""
    world = World()
    seen: list[Mapping[PodKey, Endpoint]] = []
    world.on_endpoints(seen.append)
    world.put_slice(("paddock-system", "b"), (_endpoint(url="http://[fd00::1]:8080"),))
    world.put_slice(("paddock-system", "a"), (_endpoint(),))
    assert seen[-1] == {_KEY: _endpoint()}
    world.drop_slice(("paddock-system", "a"))
    assert seen[-1][_KEY].url == "http://[fd00::1]:8080"


async def test_a_slice_that_is_gone_takes_its_pods_and_their_views() -> None:
    world = World()
    world.put_slice(_SLICE, (_endpoint(),))
    world.put_view(_KEY, _view())
    world.set_slices({})
    world.settle()
    assert (world.snapshot.pods, world.snapshot.silent, dict(world.views())) == ({}, {}, {})


async def test_a_pod_that_said_it_drains_drains() -> None:
    world = World()
    world.put_slice(_SLICE, (_endpoint(),))
    world.put_view(_KEY, _view())
    world.draining(_KEY)
    world.settle()
    assert world.snapshot.pods[POOL][0].draining


async def test_names_follow_models() -> None:
    world = World()
    told: list[int] = []
    world.on_models(lambda models: told.append(len(models)))
    world.set_models([model("a", aliases=("x",)), model("b", "other")])
    world.settle()
    names = world.snapshot.names
    assert names.resolve("x") == ("team", "a")
    world.put_model(model("b"))
    world.settle()
    with pytest.raises(PaddockError) as caught:
        world.snapshot.names.resolve("b")
    assert caught.value.code is Code.AMBIGUOUS_MODEL
    world.drop_model(("other", "b"))  # type: ignore[arg-type]  # equal to its ModelId
    world.settle()
    assert world.snapshot.names.resolve("b") == ("team", "b")
    assert told == [2, 3, 2]


async def test_a_model_that_did_not_change_makes_no_new_names() -> None:
    world = World()
    world.set_models([model("a")])
    world.settle()
    before = world.snapshot
    world.put_model(model("a"))
    world.put_pool(PoolInfo(id=POOL, replicas=2))
    world.settle()
    assert world.snapshot.names is before.names
    assert world.snapshot.models is before.models


async def test_waiting_ends_with_a_change_of_the_pool_and_of_no_other() -> None:
    world = World()
    other = PoolId("paddock-system", "other")
    mine, others = asyncio.create_task(world.changed(POOL, 60)), asyncio.create_task(world.changed(other, 60))
    await asyncio.sleep(0)
    world.put_slice(_SLICE, (_endpoint(),))
    world.put_view(_KEY, _view())
    await asyncio.wait_for(mine, 10)
    assert not others.done()
    world.set_models([model()])
    await asyncio.wait_for(others, 10)


async def test_waiting_ends_by_itself() -> None:
    await asyncio.wait_for(World().changed(POOL, 0.01), 10)
