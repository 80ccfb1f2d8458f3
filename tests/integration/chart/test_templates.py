"""Helm's own verdict on the chart: what it renders, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.chart.render import CHART, GOLDENS, golden_of, run, template, value_sets


@pytest.mark.parametrize("values", value_sets(), ids=lambda path: path.stem)
def test_goldens_are_what_helm_renders(values: Path) -> None:
    """After a change that is meant: python -m tests.unit.chart.render, and look at the difference."""
    assert golden_of(values) == (GOLDENS / values.name).read_text()


@pytest.mark.parametrize("values", value_sets(), ids=lambda path: path.stem)
def test_helm_lint_has_nothing_to_say(values: Path) -> None:
    report = run("lint", str(CHART), "--values", str(values), "--strict")
    assert "[WARNING]" not in report
    assert "[ERROR]" not in report


REFUSED = [
    ("gateway.replicas=many", "/gateway/replicas", "want integer"),
    ("gateway.replicas=-1", "/gateway/replicas", "minimum"),
    ("gatway.replicas=1", "", "'gatway' not allowed"),
    ("gateway.logLevel=loud", "/gateway/logLevel", "'debug', 'info', 'warning', 'error'"),
    ("gateway.service.type=External", "/gateway/service/type", "'ClusterIP', 'NodePort', 'LoadBalancer'"),
    ("gateway.service.port=0", "/gateway/service/port", "minimum"),
    ("gateway.env.DEBUG=1", "/gateway/env", "'DEBUG' not allowed"),
    ("gateway.env.PADDOCK_MAX_REQUESTS=5", "/gateway/env/PADDOCK_MAX_REQUESTS", "want string"),
    ("gateway.apiKeys.records.a.sha256=plain-text-key", "/gateway/apiKeys/records/a", "'namespaces'"),
    ("gateway.apiKeys.records.a.key=x", "/gateway/apiKeys/records/a", "'key' not allowed"),
    ("operator.image.digest=sha256:1", "/operator/image/digest", "does not match pattern"),
    ("operator.image.repository=a@b", "/operator/image/repository", "does not match pattern"),
    ("operator.readableSecrets[0].namespace=a", "/operator/readableSecrets/0", "'names'"),
    ("pool.name=Default", "/pool/name", "does not match pattern"),
    ("pool.spec.memory=null", "/pool/spec", "'memory'"),
    ("hub.endpoint=https://u:p@hub", "/hub/endpoint", "does not match pattern"),
    ("hub.allowedHosts[0]=http://a", "/hub/allowedHosts/0", "does not match pattern"),
    ("networkPolicy.downloads.except[0]=10.0.0.0/8", "/networkPolicy/downloads", "'except' not allowed"),
    ("networkPolicy.clients[0]=", "/networkPolicy/clients/0", "want object"),
    ("serviceMonitor.interval=often", "/serviceMonitor/interval", "does not match pattern"),
]


@pytest.mark.parametrize(("setting", "place", "why"), REFUSED, ids=[setting for setting, *_ in REFUSED])
def test_a_bad_value_is_refused_by_its_name(setting: str, place: str, why: str) -> None:
    answer = template(None, "--set", setting, check=False)
    assert "values don't meet the specifications of the schema" in answer
    assert f"at '{place}" in answer
    assert why in answer


def test_an_older_kubernetes_is_refused_with_the_version_that_is_needed() -> None:
    answer = run("template", "paddock", str(CHART), "--kube-version", "1.29.0", check=False)
    assert ">=1.30.0-0" in answer


@pytest.mark.parametrize(("release", "name"), [
    ("paddock", "paddock-gateway"), ("prod", "prod-paddock-gateway"),
    ("r" * 53, "r" * 40 + "-gateway"),
])
def test_names_begin_with_the_release_s_and_stay_short(release: str, name: str) -> None:
    rendered = run("template", release, str(CHART), "--kube-version", "1.37.0")
    assert f"\n  name: {name}\n" in rendered
