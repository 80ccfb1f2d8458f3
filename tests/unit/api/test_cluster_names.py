from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api import cluster_names as names
from paddock_api.shards import COUNT

POOLS = st.from_regex(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
MODELS = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", fullmatch=True).filter(
    lambda name: all(part and part[0] != "-" != part[-1] for part in name.split(".")))
LABEL = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"


def test_plain_names_are_plain() -> None:
    assert names.runtime_name("p") == "p-runtime"
    assert names.pod_names("p", 3) == ["p-runtime-0", "p-runtime-1", "p-runtime-2"]
    assert names.pod_names("p", 0) == []
    assert names.token_secret("p") == "p-runtime-token"
    assert [names.config_map("p", index) for index in (0, 15)] == ["p-runtime-config-00", "p-runtime-config-15"]
    assert names.revision_name("gemma", "0123456789abcdef") == "gemma-0123456789abcdef"
    assert names.pool_labels("n", "p") == {
        "app.kubernetes.io/name": "paddock-runtime", "app.kubernetes.io/managed-by": "paddock-operator",
        "paddock.dev/pool": "p", "paddock.dev/pool-namespace": "n"}
    assert names.revision_labels("m", "r")["paddock.dev/model"] == "m"


def test_the_cut_is_pinned() -> None:
    """Another release must find the same objects."""
    assert names.runtime_name("a" * 60) == "a" * 35 + "-11ee3912-runtime"
    assert names.revision_name("m" * 63, "0123456789abcdef") == "m" * 37 + "-6e80a1cc-0123456789abcdef"


@given(POOLS)
def test_every_pool_gets_names_that_kubernetes_takes(pool: str) -> None:
    made = [names.runtime_name(pool), names.token_secret(pool), names.pod_name(pool, 999_999_999),
            *(names.config_map(pool, index) for index in range(COUNT))]
    assert all(re.fullmatch(LABEL, name) for name in made)
    assert len(set(made)) == len(made)
    assert len(names.runtime_name(pool)) + len("-0123456789") <= 63, "the label controller-revision-hash"


@given(MODELS)
def test_every_model_gets_names_that_kubernetes_takes(model: str) -> None:
    name = names.revision_name(model, "0123456789abcdef")
    assert len(name) <= 63
    assert name.endswith("-0123456789abcdef")
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", part) for part in name.split("."))


@given(POOLS, POOLS)
def test_different_pools_have_different_names(one: str, other: str) -> None:
    assert (names.runtime_name(one) == names.runtime_name(other)) == (one == other)


@pytest.mark.parametrize("tail", ["x", "xy", "-x"])
def test_names_that_differ_only_where_they_are_cut_stay_different(tail: str) -> None:
    assert names.runtime_name("a" * 55) != names.runtime_name("a" * 55 + tail)
