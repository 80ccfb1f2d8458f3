"""What people see with kubectl: explanations, columns, short names, the scale subresource."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from paddock_api.crd import structural_schema
from paddock_api.kinds import KINDS, MODEL, MODEL_HUB, RUNTIME_POOL, Kind
from paddock_api.metadata import API_VERSION
from tests.cluster.apiserver import ApiServer
from tests.integration.crds.client import Api
from tests.integration.crds.conftest import NAMESPACE

NOW = "2026-11-22T10:00:00Z"
READY = {"type": "Ready", "status": "True", "reason": "Resolved", "message": "m", "lastTransitionTime": NOW}
ids = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def explain(crds: ApiServer, path: str) -> str:
    """The API server publishes the schema of a new resource a moment after the resource itself."""
    deadline = time.monotonic() + 60
    while "error: couldn't find resource" in (text := crds.kubectl("explain", path, check=False)):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    return text


def explained(crds: ApiServer, path: str) -> dict[str, str]:
    """Each field under `path` with its description, as `kubectl explain` shows them."""
    text = explain(crds, path)
    parts = re.split(r"^  (\w+)\t<.*>.*$", text.partition("FIELDS:")[2], flags=re.MULTILINE)[1:]
    return {name: " ".join(about.split()) for name, about in zip(parts[::2], parts[1::2], strict=True)}


@ids
@pytest.mark.parametrize("part", ["spec", "status"])
def test_explain_says_what_each_field_means(kind: Kind, part: str, crds: ApiServer) -> None:
    fields = structural_schema(kind.type)["properties"][part]["properties"]
    shown = explained(crds, f"{kind.plural}.{part}")
    assert shown.keys() == fields.keys()
    for name, field in fields.items():
        assert " ".join(field["description"].split()) in shown[name]


@ids
def test_explain_knows_the_kind_by_its_short_name(kind: Kind, crds: ApiServer) -> None:
    text = " ".join(explain(crds, kind.short_names[0]).split())
    assert kind.name in text
    assert structural_schema(kind.type)["description"] in text


def put(api: Api, kind: Kind, name: str, spec: dict[str, Any], status: dict[str, Any]) -> None:
    document = {"apiVersion": API_VERSION, "kind": kind.name, "metadata": {"name": name}}
    assert api.apply({**document, "spec": spec}).message == ""
    assert api.apply({**document, "status": status}, subresource="/status").message == ""


COLUMNS: list[tuple[Kind, dict[str, Any], dict[str, str]]] = [
    (MODEL, {"conditions": [READY, {**READY, "type": "Loaded", "status": "False"}],
             "facts": {"quantization": "Q4_K_M", "parameters": 7}, "replicas": {"ready": 0},
             "memory": {"measuredBytes": 99}, "activeRevision": "abc", "lastUsedTime": NOW},
     {"READY": "True", "LOADED": "False", "REPLICAS": "0", "QUANT": "Q4_K_M", "REASON": "Resolved", "PARAMETERS": "7",
      "MEMORY": "99", "REVISION": "abc"}),
    (RUNTIME_POOL, {"conditions": [READY], "readyReplicas": 0, "models": {"total": 5}, "podsInSync": 1,
                    "memory": {"chargedBytes": 42}},
     {"READY": "True", "PODS": "0", "WANTED": "3", "MEMORY": "8Gi", "MODELS": "5", "REASON": "Resolved",
      "CHARGED": "42", "IN-SYNC": "1"}),
    (MODEL_HUB, {"conditions": [READY, {**READY, "type": "Stale"}], "catalog": {"entries": 12},
                 "imported": {"models": 2}, "lastSyncTime": NOW, "nextSyncTime": NOW},
     {"READY": "True", "STALE": "True", "ENTRIES": "12", "MODELS": "2", "REASON": "Resolved", "INTERVAL": "6h",
      "SUSPENDED": "false", "NEXT-SYNC": NOW}),
]
SPECS: dict[str, dict[str, Any]] = {
    "Model": {"source": {"file": {"path": "m"}}}, "RuntimePool": {"memory": "8Gi", "replicas": 3},
    "ModelHub": {"author": "a", "interval": "6h", "suspend": False},
}


def only_row(table: str) -> dict[str, str]:
    """Column → cell of a table with one row; cells stand below their titles."""
    titles, cells = table.splitlines()
    places = [(match.start(), match.group().strip()) for match in re.finditer(r"\S+\s*", titles)]
    ends = [start for start, _ in places[1:]] + [len(cells)]
    return {title: cells[start:end].strip() for (start, title), end in zip(places, ends, strict=True)}


@pytest.mark.parametrize(("kind", "status", "expected"), COLUMNS, ids=[case[0].name for case in COLUMNS])
def test_columns_show_the_state(
    kind: Kind, status: dict[str, Any], expected: dict[str, str], crds: ApiServer, api: Api
) -> None:
    put(api, kind, "shown", SPECS[kind.name], status)
    arguments = ("get", kind.short_names[0], "shown", "-n", NAMESPACE)
    row = only_row(crds.kubectl(*arguments, "-o", "wide"))
    assert list(row) == ["NAME", *(column.name.upper() for column in kind.columns)]
    assert {name: row[name] for name in expected} == expected
    narrow = ["NAME", *(column.name.upper() for column in kind.columns if not column.priority)]
    assert list(only_row(crds.kubectl(*arguments))) == narrow


def test_a_category_shows_all_kinds_at_once(crds: ApiServer, api: Api) -> None:
    for kind in KINDS:
        put(api, kind, "together", SPECS[kind.name], {})
    shown = crds.kubectl("get", "paddock", "-n", NAMESPACE, "-o", "name").split()
    assert {f"{kind.name.lower()}.paddock.dev/together" for kind in KINDS} <= set(shown)


def test_a_pool_is_scaled_like_any_workload(crds: ApiServer, api: Api) -> None:
    put(api, RUNTIME_POOL, "scaled", {"memory": "8Gi", "replicas": 1},
        {"replicas": 1, "selector": "paddock.dev/pool=scaled"})
    path = f"/apis/paddock.dev/v1alpha1/namespaces/{NAMESPACE}/runtimepools/scaled/scale"
    scale = json.loads(crds.kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 1, "selector": "paddock.dev/pool=scaled"}
    crds.kubectl("scale", "rtp", "scaled", "-n", NAMESPACE, "--replicas=0")
    assert api.get("RuntimePool", "scaled")["spec"] == {"memory": "8Gi", "replicas": 0}
    refused = crds.kubectl("scale", "rtp", "scaled", "-n", NAMESPACE, "--replicas=1001", check=False)
    assert "spec.replicas" in refused
