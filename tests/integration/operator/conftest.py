"""One API server for these tests, emptied before each; operators are processes behind proxies of their own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from paddock_operator.cluster.resources import NAMESPACES, Resource
from tests.cluster.apiserver import ApiServer
from tests.integration.operator.kit.cluster import Cluster, Refused
from tests.integration.operator.kit.nursery import Nursery, open_nursery
from tests.integration.operator.kit.pods import ROOT
from tests.integration.operator.kit.process import OperatorProcess
from tests.integration.operator.kit.proxy import Proxy, kubeconfig_for, proxy

CRDS = Path(__file__).parents[3] / "crds"
SYSTEM = "paddock-system"
_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")

# Starts a replica: (name, further environment) → process and the proxy in front of it.
Start = Callable[..., Awaitable[tuple[OperatorProcess, Proxy]]]


@pytest.fixture(scope="module")
def own_server() -> Iterator[ApiServer]:
    """These tests stop it, freeze it, and look at everything in it."""
    with ApiServer() as server:
        server.kubectl("apply", "--server-side", "-f", str(CRDS))
        yield server


@pytest.fixture
async def cluster(own_server: ApiServer) -> AsyncIterator[Cluster]:
    """Seen from the operator's namespace. Nothing is in it yet."""
    async with aiohttp.ClientSession() as session:
        found = Cluster(own_server, session, SYSTEM)
        for namespace in (SYSTEM, "team-a", "team-b"):
            with contextlib.suppress(Refused):
                await found.create(NAMESPACES, {"metadata": {"name": namespace}})
                # no controller makes it here, and without it there are no pods
                await found.create(_ACCOUNTS, {"metadata": {"name": "default"}}, namespace)
        await found.served()
        await found.wipe()
        yield found


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    """For tests that start a replica often: give it to `start`."""
    async with open_nursery() as made:
        yield made


@pytest.fixture
async def start(own_server: ApiServer, tmp_path: Path) -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as stack:
        token = tmp_path / "root-token"
        token.write_bytes(ROOT)

        async def begin(name: str = "op-0", nursery: Nursery | None = None, **environment: str
                        ) -> tuple[OperatorProcess, Proxy]:
            between = await stack.enter_async_context(proxy(own_server.url, own_server.kubeconfig))
            kubeconfig = tmp_path / f"{name}.kubeconfig"
            kubeconfig.write_text(kubeconfig_for(between))
            process = OperatorProcess(tmp_path, name, {
                "PADDOCK_NAMESPACE": SYSTEM, "PADDOCK_ROOT_TOKEN_FILE": str(token),
                "PADDOCK_RUNTIME_IMAGE": "runtime:1", "PADDOCK_KUBECONFIG": str(kubeconfig),
                "PADDOCK_LISTEN": "127.0.0.1:0", "PADDOCK_LEASE_SECONDS": "3",
                "PADDOCK_LEASE_RENEW_SECONDS": "1.8", "PADDOCK_LEASE_RETRY_SECONDS": "0.3"}, nursery)
            await process.start(**environment)
            stack.push_async_callback(_ensure_ended, process)
            return process, between

        yield begin


async def _ensure_ended(process: OperatorProcess) -> None:
    if process.running:
        await process.stop()
