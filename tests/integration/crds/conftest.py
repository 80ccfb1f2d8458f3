from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.apiserver import ApiServer
from tests.integration.crds.client import Api

CRDS = Path(__file__).resolve().parents[3] / "crds"
NAMESPACE = "crds"


@pytest.fixture(scope="session")
def crds(api_server: ApiServer) -> ApiServer:
    """The API server with Paddock's resources, established, and a namespace for these tests."""
    files = [part for path in sorted(CRDS.glob("*.yaml")) for part in ("-f", str(path))]
    api_server.kubectl("apply", "--server-side", "--force-conflicts", *files)
    api_server.kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)
    api_server.kubectl("create", "namespace", NAMESPACE)
    return api_server


@pytest.fixture(scope="session")
def api(crds: ApiServer) -> Iterator[Api]:
    with Api(crds.kubeconfig, NAMESPACE) as client:
        yield client
