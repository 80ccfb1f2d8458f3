"""The pod of a RuntimePool: Pod Security restricted, read-only, without an API token. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paddock_api import cluster_names as names
from paddock_api.metadata import GROUP
from paddock_api.pool_storage import Cache, Credential, Volume
from paddock_api.quantity import to_bytes
from paddock_api.runtime_pool import RuntimePool
from paddock_api.shards import COUNT, KEY, file_name
from paddock_operator.cluster.resources import Object

CONTAINER = "runtime"
CACHE = "cache"
# After SIGTERM a pod takes new work for 5 s, drains, then needs a moment to end its engines.
_GRACE_BESIDES_DRAIN = 15
_OVERHEAD = 512 << 20
_MIB = 1 << 20
_USER = 65532
_FOLDER = "/etc/paddock"


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """What the operator's own settings add to every pod. `allowed_hosts`: private hosts that http sources may reach."""

    image: str
    hub_endpoint: str | None = None
    allowed_hosts: str | None = None


def selector(pool: str) -> dict[str, str]:
    """Labels that pick just the pods of the pool, within its namespace."""
    return {names.LABEL_NAME: names.RUNTIME_NAME, names.LABEL_POOL: pool}


def template(pool: RuntimePool, settings: PodSettings) -> Object:
    spec, name = pool.spec, pool.metadata.name
    endpoints = {_endpoint_annotation(each): each.endpoint for each in spec.credentials}
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.drain_seconds + _GRACE_BESIDES_DRAIN,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(pool, settings)],
        "volumes": _volumes(pool),
        "imagePullSecrets": [{"name": each.name} for each in spec.image_pull_secrets],
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [each.model_dump(mode="json") for each in spec.tolerations],
        "runtimeClassName": spec.runtime_class_name,
        "priorityClassName": spec.priority_class_name,
        "serviceAccountName": spec.service_account_name,
    }
    if spec.affinity is not None:
        pod["affinity"] = spec.affinity
    else:
        pod["topologySpreadConstraints"] = [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(name)}}]
    labels = {**spec.pod_labels, **names.pool_labels(pool.metadata.namespace, name)}
    return {"metadata": _set({"labels": labels, "annotations": {**spec.pod_annotations, **endpoints}}),
            "spec": _set(pod)}


def _container(pool: RuntimePool, settings: PodSettings) -> Object:
    spec = pool.spec
    return _set({
        "name": CONTAINER,
        "image": spec.image or settings.image,
        "imagePullPolicy": None if spec.image_pull_policy is None else spec.image_pull_policy.value,
        "env": _environment(pool, settings),
        "ports": [{"name": names.PORT_NAME, "containerPort": names.PORT, "protocol": "TCP"}],
        "resources": _resources(pool),
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
        "startupProbe": _probe("/livez", periodSeconds=2, failureThreshold=60),
        "livenessProbe": _probe("/livez", periodSeconds=10, failureThreshold=6),
        "readinessProbe": _probe("/readyz", periodSeconds=5, failureThreshold=2),
        "volumeMounts": _mounts(pool),
    })


def _environment(pool: RuntimePool, settings: PodSettings) -> list[Object]:
    spec = pool.spec
    fixed = {
        "PADDOCK_POOL": pool.metadata.name,
        "PADDOCK_MEMORY": str(spec.memory),
        "PADDOCK_DISK": None if spec.disk is None else str(spec.disk),
        "PADDOCK_DRAIN_SECONDS": str(spec.drain_seconds),
        "PADDOCK_LISTEN": f"0.0.0.0:{names.PORT}",
        "PADDOCK_POOL_CONFIG": f"{_FOLDER}/pool",
        "PADDOCK_TOKEN_FILE": f"{_FOLDER}/token/{names.TOKEN_KEY}",
        "PADDOCK_CREDENTIALS": f"{_FOLDER}/credentials",
        "PADDOCK_CACHE": "/cache",
        "PADDOCK_VOLUMES": "/volumes",
        "PADDOCK_HF_ENDPOINT": settings.hub_endpoint,
        "PADDOCK_ALLOWED_HOSTS": settings.allowed_hosts,
    }
    return [
        {"name": "PADDOCK_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "PADDOCK_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        *({"name": name, "value": value} for name, value in fixed.items() if value is not None),
    ]


def _resources(pool: RuntimePool) -> Object:
    """GPUs and all else pass through. Memory is limited to the budget and what the pod itself needs."""
    given = pool.spec.resources
    limits = {name: str(amount) for name, amount in ((given.limits if given is not None else None) or {}).items()}
    requests = {name: str(amount) for name, amount in ((given.requests if given is not None else None) or {}).items()}
    limits.setdefault("memory", _amount(to_bytes(pool.spec.memory) + _OVERHEAD))
    return _set({"limits": limits, "requests": requests})


def _amount(count: int) -> str:
    return f"{count // _MIB}Mi" if count % _MIB == 0 else str(count)


def _probe(path: str, **times: int) -> Object:
    return {"httpGet": {"path": path, "port": names.PORT_NAME}, "timeoutSeconds": 5, **times}


def _mounts(pool: RuntimePool) -> list[Object]:
    cache: Object = {"name": CACHE, "mountPath": "/cache"}
    if pool.spec.cache is not None and pool.spec.cache.persistent_volume_claim is not None:
        cache["subPathExpr"] = "$(PADDOCK_POD)"
    return [
        cache,
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "pool", "mountPath": f"{_FOLDER}/pool", "readOnly": True},
        {"name": "token", "mountPath": f"{_FOLDER}/token", "readOnly": True},
        *({"name": _credential_volume(each), "mountPath": f"{_FOLDER}/credentials/{each.name}", "readOnly": True}
          for each in pool.spec.credentials),
        # An emptyDir is filled from outside, through the container.
        *({"name": _file_volume(each), "mountPath": f"/volumes/{each.name}", "readOnly": each.empty_dir is None}
          for each in pool.spec.volumes),
    ]


def _volumes(pool: RuntimePool) -> list[Object]:
    name = pool.metadata.name
    shards = [{"configMap": {"name": names.config_map(name, index), "optional": True,
                             "items": [{"key": KEY, "path": file_name(index)}]}} for index in range(COUNT)]
    found = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "pool", "projected": {"sources": shards}},
        {"name": "token", "secret": {"secretName": names.token_secret(name), "defaultMode": 0o440}},
        *({"name": _credential_volume(each), "projected": _credential(each)} for each in pool.spec.credentials),
        *({"name": _file_volume(each), **_file_source(each)} for each in pool.spec.volumes),
    ]
    cache = _cache(pool.spec.cache)
    return found if cache is None else [{"name": CACHE, **cache}, *found]


def _cache(cache: Cache | None) -> Object | None:
    """None if the StatefulSet makes a claim for each pod."""
    if cache is not None and cache.volume_claim_template is not None:
        return None
    if cache is not None and cache.persistent_volume_claim is not None:
        return {"persistentVolumeClaim": {"claimName": cache.persistent_volume_claim.claim_name}}
    limit = cache.empty_dir.size_limit if cache is not None and cache.empty_dir is not None else None
    return {"emptyDir": {} if limit is None else {"sizeLimit": str(limit)}}


def _file_volume(volume: Volume) -> str:
    return f"volume-{volume.name}"


def _file_source(volume: Volume) -> Object:
    claim = volume.persistent_volume_claim
    if claim is not None:
        return {"persistentVolumeClaim": {"claimName": claim.claim_name, "readOnly": claim.read_only}}
    limit = volume.empty_dir.size_limit if volume.empty_dir is not None else None
    return {"emptyDir": {} if limit is None else {"sizeLimit": str(limit)}}


def _credential_volume(credential: Credential) -> str:
    return f"credential-{credential.name}"


def _credential(credential: Credential) -> Object:
    """A folder with token and endpoint. A Secret that is missing keeps no pod from starting."""
    endpoint = {"fieldPath": f"metadata.annotations['{_endpoint_annotation(credential)}']"}
    return {"defaultMode": 0o440, "sources": [
        {"secret": {"name": credential.secret_name, "optional": True,
                    "items": [{"key": credential.key, "path": "token"}]}},
        {"downwardAPI": {"items": [{"path": "endpoint", "fieldRef": endpoint}]}}]}


def _endpoint_annotation(credential: Credential) -> str:
    return f"{GROUP}/endpoint-{credential.name}"


def _set(document: dict[str, Any]) -> Object:
    """Without what is not given."""
    return {key: value for key, value in document.items() if value is not None and value not in ({}, [])}
