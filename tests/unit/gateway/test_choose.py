"""The choice of a pod: what it never does, and what it prefers."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from paddock_api.identity import ModelId
from paddock_api.rendezvous import order
from paddock_api.state import Phase
from paddock_gateway.fleet.choose import IN_MEMORY, Load, choose
from paddock_gateway.fleet.snapshot import Held, ModelInfo, Pod
from tests.unit.gateway.fleet_kit import POOL, model, pod

_GEMMA = ModelId("team", "gemma")

_held = st.builds(Held, phase=st.sampled_from(Phase), assigned=st.booleans(),
                  needed_bytes=st.none() | st.integers(1, 2000))
_pod = st.builds(lambda name, held, draining: Pod(
    name=f"default-runtime-{name}", pool=POOL, url="", draining=draining, budget_bytes=1000, models={_GEMMA: held}),
    st.integers(0, 9), _held, st.booleans())
_pods = st.lists(_pod, max_size=6, unique_by=lambda each: each.name)
_loads = st.dictionaries(st.integers(0, 9).map("default-runtime-{}".format),
                         st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda two: Load(two[0], sum(two))))
_models = st.builds(lambda most, needed: model(max_replicas=most, needed_bytes=needed),
                    st.none() | st.integers(1, 4), st.none() | st.integers(1, 2000))


def _in_memory(pods: list[Pod], loads: Mapping[str, Load]) -> set[str]:
    """Where the Model is, or will be by what this gateway has sent; a pod that drains is on its way out."""
    return {each.name for each in pods if not each.draining
            and (each.held(_GEMMA).phase in IN_MEMORY or loads.get(each.name, Load()).model > 0)}


@given(_models, _pods, _loads, st.sets(st.integers(0, 9).map("default-runtime-{}".format)), st.booleans())
def test_never_a_draining_pod_nor_one_too_many(
        wanted: ModelInfo, pods: list[Pod], loads: dict[str, Load], excluded: set[str], ready_only: bool) -> None:
    chosen = choose(wanted, pods, loads=loads, excluded=excluded, ready_only=ready_only)
    if chosen is None:
        return
    assert chosen in pods
    assert not chosen.draining
    assert chosen.name not in excluded
    assert not ready_only or chosen.held(_GEMMA).phase is Phase.READY
    before = _in_memory(pods, loads)
    assert chosen.name in before or wanted.max_replicas is None or len(before) + 1 <= wanted.max_replicas


@given(_models, _pods, st.randoms())
def test_two_gateways_choose_alike(wanted: ModelInfo, pods: list[Pod], random: Random) -> None:
    """Whatever the order in which they heard of the pods."""
    other = list(pods)
    random.shuffle(other)
    assert choose(wanted, pods) == choose(wanted, other)


@given(_models, _pods, _loads)
def test_somebody_is_chosen_when_somebody_may_be(wanted: ModelInfo, pods: list[Pod], loads: dict[str, Load]) -> None:
    serving = [each for each in pods if not each.draining]
    assert (choose(wanted, pods, loads=loads) is None) == (not serving)


def test_a_cold_model_goes_by_rendezvous_order() -> None:
    cold = model()
    pods = [pod(ordinal) for ordinal in range(8)]
    first, second, *_ = order(cold.id, [each.name for each in pods])
    one, two = choose(cold, pods), choose(cold, pods, excluded={first})
    assert one is not None
    assert two is not None
    assert [one.name, two.name] == [first, second]


def test_ready_beats_loading_beats_fetching_beats_assigned_beats_cold() -> None:
    wanted = model(needed_bytes=500)
    states: list[Phase | Held] = [Phase.FAILED, Phase.READY, Phase.LOADING, Phase.FETCHING, Held(assigned=True),
                                  Phase.CACHED, Held(needed_bytes=5000)]
    pods = [pod(ordinal, {wanted: state}, budget_bytes=1000) for ordinal, state in enumerate(states)]
    asked: list[str] = []
    while (chosen := choose(wanted, pods, excluded=set(asked))) is not None:
        asked.append(chosen.name)
    assert [int(name[-1]) for name in asked] == [1, 2, 3, 4, 5, 6, 0]


def test_among_ready_pods_the_least_busy_with_the_model() -> None:
    wanted = model()
    pods = [pod(ordinal, {wanted: Phase.READY}) for ordinal in range(3)]
    loads = {pods[0].name: Load(2, 2), pods[1].name: Load(1, 9), pods[2].name: Load(1, 3)}
    chosen = choose(wanted, pods, loads=loads)
    assert chosen is pods[2]


def test_requests_of_ours_hold_a_pod_before_it_says_that_it_loads() -> None:
    """Between a first request and the pod's event, a pod of a better rank may come back: the Model stays."""
    wanted = model(max_replicas=1)
    pods = [pod(ordinal) for ordinal in range(4)]
    *_, last = order(wanted.id, [each.name for each in pods])
    chosen = choose(wanted, pods, loads={last: Load(1, 1)})
    assert chosen is not None
    assert chosen.name == last
    assert choose(wanted, pods, loads={last: Load(1, 1)}, excluded={last}) is None


def test_a_draining_pod_counts_no_longer() -> None:
    """Else a Model of one replica could not be served while its pod is replaced."""
    wanted = model(max_replicas=1)
    pods = [pod(0, {wanted: Phase.READY}, draining=True), pod(1)]
    assert choose(wanted, pods) is pods[1]
