"""The cluster of a run, and what every test on it may ask for."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest

from tests.e2e import ground, pods, story
from tests.e2e.client import Client
from tests.e2e.ground import Ground
from tests.e2e.kubectl import Kubectl
from tests.e2e.recipes import TOOLS
from tests.e2e.release import NAME, NAMESPACE, Release
from tests.e2e.team import Team

TOOLS_NAMESPACE = "paddock-e2e-tools"
HUB_PORT, STORE_PORT = 8080, 8081
# First what all stands on, then a cluster that nobody has used; in the end what changes the release for good.
ORDER = {"test_ground.py": -2, "test_first_model.py": -1, "test_release.py": 1}
_NAMESPACES = pytest.StashKey[set[str]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where the cluster's parts can't be stopped, no test asks for it."""
    items.sort(key=lambda item: ORDER.get(item.path.name, 0))
    if not ground.has_faults():
        left_out = [item for item in items if item.get_closest_marker("faults")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Ground]:
    with ground.provide() as provided:
        yield provided


@pytest.fixture(scope="session")
def kubectl(cluster: Ground) -> Kubectl:
    return Kubectl(cluster.kubectl, cluster.kubeconfig)


@pytest.fixture(scope="session")
def tools(kubectl: Kubectl) -> Iterator[Kubectl]:
    """The namespace of what the tests themselves run in the cluster."""
    with pods.fresh_namespace(kubectl, TOOLS_NAMESPACE) as namespace:
        yield namespace


@pytest.fixture(scope="session")
def client(tools: Kubectl, cluster: Ground) -> Client:
    """Makes requests from a pod inside of the cluster."""
    idle = ["-c", "import signal; signal.sigwait({signal.SIGTERM})"]
    tools.apply(pods.python("client", cluster.images[TOOLS], idle))
    tools.wait("pod/client", "condition=Ready")
    return Client(tools, "client")


@pytest.fixture(scope="session")
def hub(tools: Kubectl, cluster: Ground) -> str:
    """The URL, inside of the cluster, of a Hugging Face Hub with the repositories of `recipes.repositories`."""
    serve = ["-m", "tests.hub", "/models", "--host=0.0.0.0", f"--port={HUB_PORT}", f"--cdn-port={STORE_PORT}"]
    ports = [HUB_PORT, STORE_PORT]
    tools.apply(pods.python("hub", cluster.images[TOOLS], serve, ready="/_double/seen", ports=ports))
    tools.apply(pods.service("hub", ports))
    tools.wait("pod/hub", "condition=Ready")
    return f"http://hub.{TOOLS_NAMESPACE}.svc.cluster.local:{HUB_PORT}"


@pytest.fixture(scope="session")
def release(kubectl: Kubectl, cluster: Ground, client: Client, hub: str) -> Iterator[Release]:
    """The chart, installed: two operators, two gateways, a pool of two pods, all settled. A test that takes something
    away puts it back, but for those of test_release.py."""
    with pods.fresh_namespace(kubectl, NAMESPACE) as namespace:
        release = Release(cluster, namespace, client, hub)
        release.install()
        yield release
        release.helm("uninstall", NAME, "--ignore-not-found", "--wait", "--timeout=3m")


@pytest.fixture
def namespace(request: pytest.FixtureRequest, kubectl: Kubectl) -> Iterator[Kubectl]:
    """A namespace of the test's own that admits only restricted pods; what happened in it is shown when it fails."""
    short = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    name = f"e2e-{short}-{secrets.token_hex(3)}"
    request.node.stash.setdefault(_NAMESPACES, set()).add(name)
    kubectl.apply(pods.namespace(name))
    yield kubectl.within(name)
    kubectl.delete(pods.namespace(name), wait=False)


@pytest.fixture
def team(namespace: Kubectl, release: Release) -> Team:
    """Who declares Models in a namespace of the test's own."""
    return Team(namespace, release)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]  # what a hook wrapper is sent
    known = item.funcargs.get("kubectl") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(known, Kubectl):
        told = item.stash.get(_NAMESPACES, set()) | {TOOLS_NAMESPACE}
        if isinstance(item, pytest.Function) and {"release", "team"} & set(item.fixturenames):
            told |= {NAMESPACE}
        report.sections.append(("the cluster", story.tell(known, told)))
    return report  # type: ignore[return-value]  # and what it hands on
