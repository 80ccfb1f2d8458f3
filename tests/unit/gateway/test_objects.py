"""Kubernetes objects → what the gateway needs of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paddock_gateway.cluster.objects import read_model, read_pool, read_slice
from paddock_gateway.fleet.snapshot import PoolId
from paddock_gateway.fleet.world import PodKey
from tests.unit.gateway.fleet_kit import POOL


def _model(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> bytes:
    source = {"http": {"url": "https://example.com/a.gguf", "sha256": "0" * 64}}
    return json.dumps({
        "apiVersion": "paddock.dev/v1alpha1", "kind": "Model",
        "metadata": {"name": "gemma", "namespace": "team", "managedFields": [{}], **metadata},
        "spec": {"source": source, "futureField": [1], **(spec or {})},
        **({"status": status} if status else {})}).encode()


def _slice(*endpoints: dict[str, Any], **fields: Any) -> bytes:
    labels = {"paddock.dev/pool": "default", "paddock.dev/pool-namespace": "paddock-system"}
    return json.dumps({
        "metadata": {"name": "default-runtime-x", "namespace": "paddock-system", "labels": labels},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints), **fields}).encode()


def _endpoint(name: str = "default-runtime-0", address: str = "10.0.0.1", **conditions: Any) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": name}}


def test_a_model_with_nothing_but_a_source() -> None:
    model = read_model(_model(), POOL)
    assert model is not None
    assert (model.id, model.pool, model.aliases, model.max_replicas, model.needed_bytes, model.unready) == (
        ("team", "gemma"), POOL, (), None, None, None)


def test_a_model_with_all_that_counts() -> None:
    model = read_model(_model(
        {"aliases": ["gpt-4o"], "poolRef": {"name": "gpu", "namespace": "pools"}, "scaling": {"maxReplicas": 2}},
        {"conditions": [{"type": "Loaded", "status": "False", "reason": "Idle"},
                        {"type": "Ready", "status": "False", "reason": "SourceRefused"}],
         "memory": {"estimatedBytes": 9, "measuredBytes": 8}},
        creationTimestamp="2026-11-02T03:04:05Z"), POOL)
    assert model is not None
    assert (model.pool, model.aliases, model.max_replicas, model.needed_bytes, model.unready, model.created) == (
        PoolId("pools", "gpu"), ("gpt-4o",), 2, 8, "SourceRefused", 1793588645)


def test_a_pool_reference_without_a_namespace_means_that_of_the_default() -> None:
    model = read_model(_model({"poolRef": {"name": "gpu"}}), POOL)
    assert model is not None
    assert model.pool == PoolId("paddock-system", "gpu")


def test_what_is_being_deleted_is_gone() -> None:
    assert read_model(_model(deletionTimestamp="2026-11-02T03:04:05Z"), POOL) is None
    assert read_pool(json.dumps({"metadata": {
        "name": "a", "namespace": "b", "deletionTimestamp": "2026-11-02T03:04:05Z"}}).encode()) is None


def test_a_pool() -> None:
    content = {"metadata": {"name": "default", "namespace": "paddock-system"}, "spec": {"replicas": 0, "memory": "4Gi"}}
    pool = read_pool(json.dumps(content).encode())
    assert pool is not None
    assert (pool.id, pool.replicas) == (POOL, 0)


def test_endpoints() -> None:
    first, second, third, fourth = read_slice(_slice(
        _endpoint(ready=True), _endpoint("default-runtime-1", "10.0.0.2", ready=False),
        _endpoint("default-runtime-2", "10.0.0.3", ready=True, terminating=True),
        _endpoint("default-runtime-3", "10.0.0.4")))
    assert first.key == PodKey(POOL, "default-runtime-0")
    assert first.url == "http://10.0.0.1:8080"
    assert [each.ready for each in (first, second, third, fourth)] == [True, False, False, True]


def test_ipv6() -> None:
    (endpoint,) = read_slice(_slice(_endpoint(address="fd00::1"), addressType="IPv6"))
    assert endpoint.url == "http://[fd00::1]:8080"


@pytest.mark.parametrize("fields", [
    {"metadata": {"name": "x", "namespace": "attacker", "labels": {
        "paddock.dev/pool": "default", "paddock.dev/pool-namespace": "paddock-system"}}},
    {"metadata": {"name": "x", "namespace": "paddock-system", "labels": {}}},
    {"metadata": {"name": "x", "namespace": "paddock-system"}},
    {"ports": []}, {"ports": None}, {"ports": [{"name": "metrics", "port": 9}]}, {"endpoints": None},
    {"endpoints": [{"addresses": ["10.0.0.1"]}]}, {"endpoints": [{"addresses": []}]},
])
def test_slices_that_name_no_pod_of_ours(fields: dict[str, Any]) -> None:
    """A slice in another namespace than its pool's would bring an attacker the pool's requests and its token."""
    assert read_slice(_slice(_endpoint(ready=True), **fields)) == ()


@pytest.mark.parametrize("data", [b"", b"{}", b"[", b'{"metadata": {"name": 1}}', b"[" * 100_000, b"\xff"])
def test_what_is_no_object(data: bytes) -> None:
    for read in (read_slice, read_pool, lambda content: read_model(content, POOL)):
        with pytest.raises(ValueError, match="not an object as it should be"):
            read(data)
