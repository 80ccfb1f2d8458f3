"""Which pod may reach which port, by NetworkPolicies as Kubernetes defines them. For tests: the test cluster's network
does not enforce them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_namespace_labels(self) -> dict[str, str]:
        return {**self.namespace_labels, "kubernetes.io/metadata.name": self.namespace}


@dataclass(frozen=True)
class Address:
    """A host outside of the cluster, or one that no policy knows as a pod (the API server, a cloud's metadata)."""

    ip: str


End = Pod | Address


def allowed(policies: Sequence[Policy], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Both sides must agree: the source's egress and the target's ingress."""
    return _side(policies, "Egress", source, target, port, protocol) \
        and _side(policies, "Ingress", target, source, port, protocol)


def _side(policies: Sequence[Policy], direction: str, own: End, other: End, port: int, protocol: str) -> bool:
    if isinstance(own, Address):
        return True  # policies speak of pods only
    chosen = [policy for policy in policies if _applies(policy, direction, own)]
    if not chosen:
        return True
    rules = [(policy, rule) for policy in chosen for rule in policy["spec"].get(direction.lower()) or ()]
    return any(_rule(rule, policy["metadata"]["namespace"], direction, other, port, protocol)
               for policy, rule in rules)


def _applies(policy: Policy, direction: str, pod: Pod) -> bool:
    return direction in policy["spec"]["policyTypes"] and policy["metadata"]["namespace"] == pod.namespace \
        and matches(policy["spec"]["podSelector"], pod.labels)


def _rule(rule: Mapping[str, Any], namespace: str, direction: str, other: End, port: int, protocol: str) -> bool:
    ports, peers = rule.get("ports"), rule.get("to" if direction == "Egress" else "from")
    if ports and not any(each["port"] == port and each.get("protocol", "TCP") == protocol for each in ports):
        return False
    return not peers or any(_peer(peer, namespace, other) for peer in peers)


def _peer(peer: Mapping[str, Any], namespace: str, other: End) -> bool:
    if "ipBlock" in peer:
        return isinstance(other, Address) and _in_block(peer["ipBlock"], other.ip)
    if isinstance(other, Address):
        return False
    spaces = peer.get("namespaceSelector")
    in_space = matches(spaces, other.all_namespace_labels) if spaces is not None else other.namespace == namespace
    return in_space and matches(peer.get("podSelector") or {}, other.labels)


def _in_block(block: Mapping[str, Any], ip: str) -> bool:
    address = ipaddress.ip_address(ip)

    def inside(cidr: str) -> bool:
        network = ipaddress.ip_network(cidr)
        return network.version == address.version and address in network

    return inside(block["cidr"]) and not any(inside(cidr) for cidr in block.get("except") or ())


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """An empty selector takes all."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) \
        and all(_demand(each, labels) for each in selector.get("matchExpressions") or ())


def _demand(demand: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, operator = labels.get(demand["key"]), demand["operator"]
    if operator in ("Exists", "DoesNotExist"):
        return bool((value is not None) == (operator == "Exists"))
    return bool((value in demand["values"]) == (operator == "In"))
