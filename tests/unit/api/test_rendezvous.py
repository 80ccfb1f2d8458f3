from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from paddock_api.identity import ModelId
from paddock_api.rendezvous import order

PODS = [f"runtime-{number}" for number in range(8)]
MODELS = [ModelId("team", f"model-{number}") for number in range(400)]


def test_pinned_so_that_old_and_new_gateways_agree() -> None:
    assert order(ModelId("default", "gemma"), PODS[:4]) == ["runtime-0", "runtime-3", "runtime-2", "runtime-1"]


@given(st.permutations(PODS))
def test_the_order_in_which_pods_are_known_does_not_matter(pods: list[str]) -> None:
    assert order(MODELS[0], pods + pods[:3]) == order(MODELS[0], PODS)


@given(st.sampled_from(MODELS), st.sampled_from(PODS))
def test_a_pod_that_goes_moves_nobody_else(model: ModelId, gone: str) -> None:
    assert order(model, [pod for pod in PODS if pod != gone]) == [pod for pod in order(model, PODS) if pod != gone]


def test_a_pod_that_comes_takes_its_share_and_no_more() -> None:
    moved = [model for model in MODELS if order(model, PODS)[0] != order(model, PODS[:-1])[0]]
    assert all(order(model, PODS)[0] == PODS[-1] for model in moved)
    assert 20 < len(moved) < 90  # 400 / 8 = 50


def test_models_spread_over_pods() -> None:
    first = Counter(order(model, PODS)[0] for model in MODELS)
    assert min(first.values()) > 25
    assert set(first) == set(PODS)


def test_no_pods() -> None:
    assert order(MODELS[0], []) == []
