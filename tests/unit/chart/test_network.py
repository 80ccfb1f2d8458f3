"""Who may reach what. The policies are evaluated as Kubernetes does, over every pair that matters."""

from __future__ import annotations

import pytest

from paddock_api.cluster_names import pool_labels
from tests.unit.chart.objects import named, objects, of_kind, pods
from tests.unit.chart.policy import Address, End, Pod, allowed, matches

OWN = "paddock-system"


def _pod(owner: str) -> Pod:
    found = dict(pods(objects("default")))
    return Pod(OWN, found[owner]["metadata"]["labels"])


GATEWAY, OPERATOR = _pod("Deployment/paddock-gateway"), _pod("Deployment/paddock-operator")
CRDS, TEST = _pod("Job/paddock-crds"), _pod("Pod/paddock-test")
RUNTIME = Pod(OWN, pool_labels(OWN, "default"))
FAR_RUNTIME = Pod("team-a", pool_labels("team-a", "own"))
CLIENT = Pod("shop", {"app": "shop"})
FRIEND = Pod("shop", {"app": "shop"}, {"clients": "yes"})
MONITOR = Pod("monitoring", {"app": "prometheus"})
DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
MIRROR = Pod(OWN, {"app": "hub-mirror"})
INTERNET, METADATA, NODE = Address("151.101.1.1"), Address("169.254.169.254"), Address("10.0.0.7")
SIX, SIX_PRIVATE = Address("2606:4700::1"), Address("fd00::7")
# (from, to, port): with the default values, all that may and much that may not.
MAY: list[tuple[End, End, int]] = [
    (CLIENT, GATEWAY, 8080), (INTERNET, GATEWAY, 8080), (TEST, GATEWAY, 8080), (GATEWAY, RUNTIME, 8080),
    (OPERATOR, RUNTIME, 8080), (OPERATOR, GATEWAY, 9090), (GATEWAY, NODE, 6443), (OPERATOR, NODE, 6443),
    (OPERATOR, NODE, 443), (CRDS, NODE, 6443), (RUNTIME, INTERNET, 443), (RUNTIME, INTERNET, 80), (RUNTIME, SIX, 443),
    (OPERATOR, INTERNET, 443), (RUNTIME, DNS, 53), (GATEWAY, DNS, 53), (OPERATOR, DNS, 53), (TEST, DNS, 53),
]
MAY_NOT: list[tuple[End, End, int]] = [
    (CLIENT, RUNTIME, 8080), (INTERNET, RUNTIME, 8080), (MONITOR, RUNTIME, 8080), (RUNTIME, RUNTIME, 8080),
    (TEST, RUNTIME, 8080), (CRDS, RUNTIME, 8080), (FAR_RUNTIME, RUNTIME, 8080), (GATEWAY, RUNTIME, 8081),
    (GATEWAY, RUNTIME, 22), (OPERATOR, RUNTIME, 9090), (CLIENT, GATEWAY, 9090), (INTERNET, GATEWAY, 9090),
    (MONITOR, GATEWAY, 9090), (RUNTIME, GATEWAY, 8080), (RUNTIME, GATEWAY, 9090), (CLIENT, OPERATOR, 9090),
    (GATEWAY, OPERATOR, 9090), (RUNTIME, OPERATOR, 9090), (MONITOR, OPERATOR, 9090), (RUNTIME, NODE, 6443),
    (RUNTIME, NODE, 443), (RUNTIME, NODE, 80), (RUNTIME, METADATA, 80), (RUNTIME, SIX_PRIVATE, 443),
    (OPERATOR, METADATA, 80), (GATEWAY, METADATA, 80), (GATEWAY, INTERNET, 80), (RUNTIME, INTERNET, 22),
    (RUNTIME, CLIENT, 80), (GATEWAY, CLIENT, 8080), (OPERATOR, CLIENT, 80), (CRDS, INTERNET, 80), (CRDS, DNS, 53),
    (TEST, INTERNET, 80), (TEST, NODE, 6443), (TEST, GATEWAY, 9090), (INTERNET, CRDS, 80), (CLIENT, TEST, 80),
]


@pytest.mark.parametrize(("source", "target", "port"), MAY)
def test_what_paddock_needs_is_open(source: End, target: End, port: int) -> None:
    assert allowed(of_kind(objects("default"), "NetworkPolicy"), source, target, port)


@pytest.mark.parametrize(("source", "target", "port"), MAY_NOT)
def test_all_else_is_closed(source: End, target: End, port: int) -> None:
    assert not allowed(of_kind(objects("default"), "NetworkPolicy"), source, target, port)


def test_without_policies_nothing_would_be_closed() -> None:
    """The evaluator itself: what it refuses, it refuses for a policy's sake."""
    assert all(allowed([], *each) for each in (*MAY, *MAY_NOT))
    assert of_kind(objects("bare"), "NetworkPolicy") == []


def test_dns_goes_over_udp_too_and_nothing_else_does() -> None:
    policies = of_kind(objects("default"), "NetworkPolicy")
    assert allowed(policies, RUNTIME, DNS, 53, "UDP")
    assert not allowed(policies, RUNTIME, INTERNET, 443, "UDP")
    assert not allowed(policies, GATEWAY, RUNTIME, 8080, "UDP")


@pytest.mark.parametrize(("source", "target", "port", "expected"), [
    (FRIEND, GATEWAY, 8080, True), (CLIENT, GATEWAY, 8080, False), (INTERNET, GATEWAY, 8080, False),
    (TEST, GATEWAY, 8080, True), (MONITOR, GATEWAY, 9090, True), (MONITOR, OPERATOR, 9090, True),
    (MONITOR, GATEWAY, 8080, False), (MONITOR, RUNTIME, 8080, False), (GATEWAY, FAR_RUNTIME, 8080, True),
    (OPERATOR, FAR_RUNTIME, 8080, True), (CLIENT, FAR_RUNTIME, 8080, False), (RUNTIME, FAR_RUNTIME, 8080, False),
    (FAR_RUNTIME, Address("203.0.113.9"), 443, True), (FAR_RUNTIME, INTERNET, 443, False),
    (RUNTIME, MIRROR, 8443, True), (RUNTIME, MIRROR, 443, False), (OPERATOR, Address("198.51.100.7"), 6443, True),
    (OPERATOR, NODE, 6443, False), (RUNTIME, DNS, 53, True), (RUNTIME, CLIENT, 53, False), (RUNTIME, DNS, 5353, True),
])
def test_values_open_and_close_what_they_name(source: End, target: End, port: int, expected: bool) -> None:
    assert allowed(of_kind(objects("full"), "NetworkPolicy"), source, target, port) == expected


def test_a_default_deny_covers_every_pod_of_the_chart_and_of_pools() -> None:
    found = objects("default")
    selector = named(found, "NetworkPolicy", "paddock-default-deny")["spec"]["podSelector"]
    for name, pod in pods(found):
        assert matches(selector, pod["metadata"]["labels"]), name
    assert matches(selector, RUNTIME.labels)
    assert not matches(selector, CLIENT.labels), "others in the namespace are not Paddock's business"
