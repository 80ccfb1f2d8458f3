"""Requests of the operator, as it counts them itself and as the API server's audit log has them. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

USER = "paddock-operator"
# Every request of the operator's user, once, when it was answered.
POLICY = json.dumps({
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [USER]}, {"level": "None"}]})

_METRIC = "paddock_operator_writes_total"
_HTTP = {"apply": "patch", "annotate": "patch", "create": "create", "update": "update", "delete": "delete"}
_WRITES = frozenset(_HTTP.values())
# Renewed by time, whatever there is to do.
LEASES = "leases"

# (verb of the API server, plural with `-status` for a status) → requests
Counts = Counter[tuple[str, str]]


def told(metrics: str) -> tuple[Counts, Counts]:
    """By the operator's own metrics: the writes that were obeyed, and those that were not."""
    obeyed: Counts = Counter()
    refused: Counts = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == _METRIC:
                labels = sample.labels
                into = obeyed if labels["outcome"] == "ok" else refused
                into[_HTTP[labels["verb"]], labels["kind"]] += int(sample.value)
    return obeyed, refused


def audited(lines: Iterable[str]) -> tuple[Counts, Counts, Counts]:
    """By the audit log: the writes that were obeyed, those that were not, and what was only read."""
    obeyed: Counts = Counter()
    refused: Counts = Counter()
    read: Counts = Counter()
    for line in lines:
        entry: Mapping[str, Any] = json.loads(line)
        about = entry.get("objectRef") or {}
        kind = "-".join(filter(None, (about.get("resource", "none"), about.get("subresource"))))
        into = read if entry["verb"] not in _WRITES else obeyed if entry["responseStatus"]["code"] < 300 else refused
        into[entry["verb"], kind] += 1
    return obeyed, refused, read


def without_leases(counts: Counts) -> Counts:
    return Counter({key: count for key, count in counts.items() if key[1] != LEASES})


def named(counts: Counts, per: float = 1.0) -> dict[str, float]:
    """`patch models-status` → requests by `per`, the most first."""
    return {f"{verb} {kind}": count / per for (verb, kind), count in counts.most_common()}
