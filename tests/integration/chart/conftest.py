"""The chart, installed by Helm on an API server of its own. There are no nodes, so its hooks' pods are left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.apiserver import ApiServer
from tests.integration.crds.client import Api
from tests.unit.chart.render import CHART, NAMESPACE, RELEASE, run

CONTROLLERS = ("garbage-collector-controller", "namespace-controller", "serviceaccount-controller")
ELSEWHERE = "team-a"


@dataclass(frozen=True)
class Installed:
    server: ApiServer
    api: Api

    def helm(self, command: str, *more: str, check: bool = True) -> str:
        return run(command, RELEASE, *more, "--namespace", NAMESPACE, "--no-hooks",
                   "--kubeconfig", str(self.server.kubeconfig), check=check)

    def upgrade(self, *more: str, check: bool = True) -> str:
        return self.helm("upgrade", str(CHART), *more, check=check)

    def inventory(self) -> set[str]:
        """Every object there is, but those that come and go by themselves."""
        kubectl, found = self.server.kubectl, set()
        for scope in ("true", "false"):
            listable = kubectl("api-resources", "--verbs=list", f"--namespaced={scope}", "-o", "name").split()
            kinds = [kind for kind in listable if not kind.startswith(("events", "apiservices", "componentstatuses"))]
            columns = "custom-columns=A:.apiVersion,K:.kind,S:.metadata.namespace,N:.metadata.name"
            found |= {" ".join(line.split()) for line in kubectl(
                "get", ",".join(kinds), "--all-namespaces", "--no-headers", "-o", columns).splitlines()}
        return found


@pytest.fixture(scope="module")
def bare() -> Iterator[Installed]:
    """Nothing installed yet: the namespaces are there, and the release's takes only pods that fit `restricted`."""
    with ApiServer(controllers=CONTROLLERS) as server:
        for namespace in (NAMESPACE, ELSEWHERE):
            server.kubectl("create", "namespace", namespace)
            server.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
            server.kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=60s")
        with Api(server.kubeconfig, NAMESPACE) as api:
            yield Installed(server, api)


@pytest.fixture(scope="module")
def installed(bare: Installed) -> Installed:
    bare.helm("install", str(CHART))
    return bare
