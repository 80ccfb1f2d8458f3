from __future__ import annotations

from typing import Any

import pytest

from paddock_api.pool_access import AllowedNamespaces, may_use

LABELS = {"team": "a", "env": "prod"}


def asks(allowed: dict[str, Any] | None, namespace: str = "other", labels: dict[str, str] | None = None) -> bool:
    given = None if allowed is None else AllowedNamespaces.model_validate(allowed)
    return may_use(given, pool_namespace="own", namespace=namespace, labels=LABELS if labels is None else labels)


@pytest.mark.parametrize("allowed", [None, {}, {"names": []}, {"all": False}, {"names": ["third"]}])
def test_the_pool_s_own_namespace_may_always_and_others_must_be_let_in(allowed: dict[str, Any] | None) -> None:
    assert asks(allowed, "own")
    assert not asks(allowed)


def test_all_names_and_selectors_let_in() -> None:
    assert asks({"all": True})
    assert asks({"names": ["x", "other"]})
    assert asks({"names": ["x"], "selector": {"matchLabels": {"team": "a"}}}), "either is enough"
    assert asks({"selector": {}}), "an empty selector takes all, as everywhere in Kubernetes"


@pytest.mark.parametrize(("expression", "labels", "expected"), [
    ({"key": "team", "operator": "In", "values": ["a", "b"]}, {"team": "b"}, True),
    ({"key": "team", "operator": "In", "values": ["a"]}, {}, False),
    ({"key": "team", "operator": "NotIn", "values": ["a"]}, {"team": "a"}, False),
    ({"key": "team", "operator": "NotIn", "values": ["a"]}, {}, True),
    ({"key": "team", "operator": "Exists"}, {"team": ""}, True),
    ({"key": "team", "operator": "Exists"}, {}, False),
    ({"key": "team", "operator": "DoesNotExist"}, {}, True),
    ({"key": "team", "operator": "DoesNotExist"}, {"team": ""}, False),
])
def test_expressions_mean_what_kubernetes_says(
    expression: dict[str, Any], labels: dict[str, str], expected: bool
) -> None:
    assert asks({"selector": {"matchExpressions": [expression]}}, labels=labels) == expected
    both = {"matchLabels": {"more": "x"}, "matchExpressions": [expression]}
    assert not asks({"selector": both}, labels=labels), "all demands must hold"
