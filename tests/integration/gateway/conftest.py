"""A real API server with our resources, and an account that may do what the gateway's may: read three kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.apiserver import ApiServer
from tests.integration.gateway.kit import Cluster, fresh_namespace, prepare


@pytest.fixture(scope="session")
def gateway_account(api_server: ApiServer) -> Path:
    return prepare(api_server)


@pytest.fixture
def cluster(api_server: ApiServer, gateway_account: Path) -> Iterator[Cluster]:
    with fresh_namespace(api_server, gateway_account) as cluster:
        yield cluster
