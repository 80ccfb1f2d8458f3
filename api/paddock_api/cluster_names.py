"""Names of what Paddock makes in a cluster: operator, gateways and pods find each other's objects by these rules."""

from __future__ import annotations

import hashlib

from paddock_api.model import GROUP

FIELD_MANAGER = "paddock-operator"
STATUS_FIELD_MANAGER = "paddock-operator-status"
LEASE = "paddock-operator"

LABEL_NAME = "app.kubernetes.io/name"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
RUNTIME_NAME = "paddock-runtime"
MANAGED_BY = "paddock-operator"
LABEL_POOL = f"{GROUP}/pool"
LABEL_POOL_NAMESPACE = f"{GROUP}/pool-namespace"
LABEL_MODEL = f"{GROUP}/model"
LABEL_REVISION = f"{GROUP}/revision"

ANNOTATION_CONFIG_HASH = f"{GROUP}/config-hash"
ANNOTATION_RECONCILE = f"{GROUP}/reconcile-requested-at"
ANNOTATION_REVISION_NUMBER = f"{GROUP}/revision-number"
ANNOTATION_REVISION_TIME = f"{GROUP}/revision-time"
ANNOTATION_REVISION_CAUSE = f"{GROUP}/revision-cause"

DEFAULT_POOL = "default"
PORT = 8080
PORT_NAME = "http"
TOKEN_KEY = "token"
REVISION_KEY = "revision.json"

MAX_LABEL = 63
# A StatefulSet's pods carry its name with `-` and a hash of ten digits as a label.
MAX_STATEFUL_SET = MAX_LABEL - 11
_CUT_HASH = 8


def fit(name: str, suffix: str = "", limit: int = MAX_LABEL) -> str:
    """`name + suffix`, at most `limit` characters: a longer name is cut and gets a hash of what it was.

    Different names never give one result by being cut (32 bits of hash), and no part of a name ends in `-` or `.`."""
    if len(name) + len(suffix) <= limit:
        return name + suffix
    digest = hashlib.sha256(name.encode()).hexdigest()[:_CUT_HASH]
    kept = name[:limit - len(suffix) - _CUT_HASH - 1].rstrip("-.")
    return f"{kept}-{digest}{suffix}"


def runtime_name(pool: str) -> str:
    """The pool's StatefulSet, headless Service and PodDisruptionBudget."""
    return fit(pool, "-runtime", MAX_STATEFUL_SET)


def pod_name(pool: str, ordinal: int) -> str:
    return f"{runtime_name(pool)}-{ordinal}"


def pod_names(pool: str, replicas: int) -> list[str]:
    """The pods of a pool, lowest ordinal first."""
    return [pod_name(pool, ordinal) for ordinal in range(replicas)]


def token_secret(pool: str) -> str:
    """The Secret with the pool's own token, under the key `token`."""
    return f"{runtime_name(pool)}-token"


def config_map(pool: str, shard: int) -> str:
    """The ConfigMap of one shard of the pool's configuration."""
    return f"{runtime_name(pool)}-config-{shard:02d}"


def revision_name(model: str, revision: str) -> str:
    """The ConfigMap of one revision of a Model."""
    return fit(model, f"-{revision}")


def pool_labels(namespace: str, pool: str) -> dict[str, str]:
    """Labels of all that belongs to a pool. On its Service they reach the EndpointSlices."""
    return {LABEL_NAME: RUNTIME_NAME, LABEL_MANAGED_BY: MANAGED_BY, LABEL_POOL: pool, LABEL_POOL_NAMESPACE: namespace}


def revision_labels(model: str, revision: str) -> dict[str, str]:
    """Labels of a revision's ConfigMap."""
    return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_MODEL: model, LABEL_REVISION: revision}
