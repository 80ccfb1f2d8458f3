"""What a RuntimePool is made of besides its configuration: StatefulSet, Service, disruption budget, token. Pure."""

from __future__ import annotations

import base64

from paddock_api import cluster_names as names
from paddock_api.runtime_pool import RuntimePool
from paddock_operator.cluster.resources import (
    DISRUPTION_BUDGETS,
    POOLS,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
    Object,
    Resource,
)
from paddock_operator.objects.differ import marked
from paddock_operator.objects.owner import owned_by
from paddock_operator.objects.pod import CACHE, PodSettings, selector, template

_HISTORY = 3


def document(pool: RuntimePool, resource: Resource, name: str) -> Object:
    """The head of an object that belongs to the pool."""
    metadata = pool.metadata
    return {
        "apiVersion": resource.api_version, "kind": resource.kind,
        "metadata": {"name": name, "namespace": metadata.namespace,
                     "labels": names.pool_labels(metadata.namespace, metadata.name),
                     "ownerReferences": [owned_by(POOLS, metadata.name, metadata.uid or "")]},
    }


def stateful_set(pool: RuntimePool, settings: PodSettings, replicas: int) -> Object:
    """`replicas` is what it has now on its way to the pool's spec.replicas."""
    name = pool.metadata.name
    spec: Object = {
        "replicas": replicas,
        "podManagementPolicy": "Parallel",
        "serviceName": names.runtime_name(name),
        "selector": {"matchLabels": selector(name)},
        "revisionHistoryLimit": _HISTORY,
        "template": template(pool, settings),
        "updateStrategy": _strategy(pool),
    }
    cache = pool.spec.cache
    if cache is not None and cache.volume_claim_template is not None:
        claim = cache.volume_claim_template
        request: Object = {"accessModes": [str(mode) for mode in claim.access_modes],
                           "resources": {"requests": {"storage": str(claim.size)}}}
        if claim.storage_class_name is not None:
            request["storageClassName"] = claim.storage_class_name
        spec["volumeClaimTemplates"] = [{"metadata": {"name": CACHE}, "spec": request}]
        spec["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Delete", "whenScaled": "Retain"}
    return marked({**document(pool, STATEFUL_SETS, names.runtime_name(name)), "spec": spec})


def _strategy(pool: RuntimePool) -> Object:
    given = pool.spec.update_strategy
    return {"type": "RollingUpdate"} if given is None else {"type": given.type, **given.model_dump(mode="json")}


def service(pool: RuntimePool) -> Object:
    """Headless: gateways and the operator speak with each pod. A pod that is not ready is not in it."""
    return marked({**document(pool, SERVICES, names.runtime_name(pool.metadata.name)), "spec": {
        "clusterIP": "None",
        "publishNotReadyAddresses": False,
        "selector": selector(pool.metadata.name),
        "ports": [{"name": names.PORT_NAME, "port": names.PORT, "targetPort": names.PORT_NAME, "protocol": "TCP"}]}})


def disruption_budget(pool: RuntimePool) -> Object:
    """Nodes are drained one pod after the other."""
    return marked({**document(pool, DISRUPTION_BUDGETS, names.runtime_name(pool.metadata.name)), "spec": {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(pool.metadata.name)}}})


def token_secret(pool: RuntimePool, token: str) -> Object:
    return {**document(pool, SECRETS, names.token_secret(pool.metadata.name)), "type": "Opaque",
            "data": {names.TOKEN_KEY: base64.b64encode(token.encode()).decode()}}
