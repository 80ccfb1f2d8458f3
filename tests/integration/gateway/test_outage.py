"""The API server goes away, hangs, comes back: what gateways know they keep."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
import yaml

from tests.cluster.apiserver import ApiServer
from tests.integration.gateway.client import Stream, ask
from tests.integration.gateway.kit import Cluster, Gateway, eventually, fresh_namespace, prepare

# A watch that says nothing for 70 s is taken for dead; then a little for the new one.
_STALL_NOTICED = 75.0 + 20.0


@pytest.fixture(scope="module")
def own_server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="module")
def own_account(own_server: ApiServer) -> Path:
    return prepare(own_server)


@pytest.fixture
def cluster(own_server: ApiServer, own_account: Path) -> Iterator[Cluster]:
    with fresh_namespace(own_server, own_account) as cluster:
        yield cluster


def test_an_outage_is_not_noticed_by_clients(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 8. The loads of pods are followed all the while, and what changed meanwhile is known soon after."""
    cluster.model("warm")
    cluster.model("cold")
    cluster.model("doomed")
    warm, cold = f"{cluster.namespace}/warm", f"{cluster.namespace}/cold"
    with (cluster.pod(0, models={warm: "Ready", cold: "Cached"}) as first,
          Gateway(cluster, tmp_path / "gw") as gateway):
        cluster.pods(first)
        gateway.knows(warm, "Ready")
        gateway.knows(f"{cluster.namespace}/doomed", "Absent")
        cluster.server.stop()
        try:
            eventually(lambda: not any(watch["connected"] for watch in gateway.get("state")["watches"].values()))
            assert gateway.probe("readyz") == 200
            assert [ask(gateway, "warm").status_code for _ in range(20)] == [200] * 20
            assert ask(gateway, "cold").status_code == 200
            eventually(lambda: gateway.phases(cold) == ["Ready"])
            assert Stream(gateway, "warm").wait().complete
            time.sleep(5)
            assert ask(gateway, "warm").status_code == 200
        finally:
            cluster.server.start()
        back = time.monotonic()
        cluster.delete("model", "doomed")
        cluster.model("new")
        with cluster.pod(1, models={f"{cluster.namespace}/new": "Ready"}) as second:
            cluster.pods(first, second)
            gateway.knows(f"{cluster.namespace}/new", "Absent", "Ready")
            assert time.monotonic() - back < 60
            assert f"{cluster.namespace}/doomed" not in gateway.get("state")["models"]
            assert ask(gateway, "new").json()["choices"][0]["message"]["content"] == f"from {second.name}"


def test_a_gateway_that_starts_while_the_api_server_is_away_is_not_ready(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("warm")
    with contextlib.ExitStack() as until_it_is_back:
        cluster.server.stop()
        until_it_is_back.callback(cluster.server.start)
        with Gateway(cluster, tmp_path / "gw", await_ready=False) as gateway:
            assert gateway.probe("livez") == 200
            assert gateway.probe("readyz") == 503
            until_it_is_back.close()
            eventually(lambda: gateway.probe("readyz") == 200)
            gateway.knows(f"{cluster.namespace}/warm")


class Proxy:
    """Bytes between gateway and API server, until it is told to swallow them: connections stay open, nothing comes."""

    def __init__(self, server: ApiServer) -> None:
        place = urlsplit(server.url)
        self._target = (place.hostname or "", place.port or 443)
        self._listener = socket.create_server((self._target[0], 0))
        self.url = f"https://{self._target[0]}:{self._listener.getsockname()[1]}"
        self._swallowed: set[socket.socket] = set()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)
        for sock in [*self._pairs, self._listener]:
            sock.close()
        self._selector.close()

    def swallow(self) -> None:
        """From now on the connections that are open carry nothing; new ones work."""
        self._swallowed = set(self._pairs)

    def account(self, kubeconfig: Path, folder: Path) -> Path:
        content = yaml.safe_load(kubeconfig.read_text())
        for each in content["clusters"]:
            each["cluster"]["server"] = self.url
        target = folder / "kubeconfig"
        target.write_text(yaml.safe_dump(content))
        return target

    def _run(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._listener:
                    self._accept()
                elif sock in self._pairs:
                    self._pass(sock)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(self._target)
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65536)
            if data and sock not in self._swallowed:
                self._pairs[sock].sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (sock, self._pairs[sock]):
                self._selector.unregister(each)
                del self._pairs[each]
                each.close()


def test_a_watch_that_falls_silent_is_begun_anew(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 9: connections that carry nothing and say nothing. Everything that happened is known after the stall."""
    cluster.model("before")
    with Proxy(cluster.server) as proxy:
        behind = Cluster(cluster.server, cluster.namespace, proxy.account(cluster.account, tmp_path))
        with cluster.pod() as pod, Gateway(behind, tmp_path / "gw") as gateway:
            cluster.pods(pod)
            gateway.knows(f"{cluster.namespace}/before", "Absent")
            proxy.swallow()
            cluster.delete("model", "before")
            cluster.model("after")
            time.sleep(3)
            assert f"{cluster.namespace}/before" in gateway.get("state")["models"], "the stall is a stall"
            eventually(lambda: list(gateway.get("state")["models"]) == [f"{cluster.namespace}/after"],
                       within=_STALL_NOTICED)
            assert [line["kind"] for line in gateway.logs("listed")].count("Model") == 1, "no list was needed"
