"""Gateways as real processes, on a real API server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import yaml
from openai import OpenAI

from paddock_api.tokens import pool_token
from tests.cluster.apiserver import ApiServer
from tests.integration.gateway.fake_pod import FakePod

ROOT_TOKEN = "paddock-root-canary-0123456789abcdef0123456789"
DEADLINE = 60.0
_PATH = ("api", "gateway", "operator", "runtime")
_REPOSITORY = Path(__file__).resolve().parents[3]


def eventually(check: Callable[[], Any], *, within: float = DEADLINE) -> Any:
    """The first true value of `check`; fails after a generous deadline."""
    end = time.monotonic() + within
    while not (value := check()):
        assert time.monotonic() < end, "it did not come to this in time"
        time.sleep(0.02)
    return value


@dataclass(frozen=True)
class Cluster:
    """One namespace of an API server: a pool in it, and Models that use the pool."""

    server: ApiServer
    namespace: str
    account: Path

    @property
    def pool(self) -> str:
        return "pool"

    @property
    def token(self) -> str:
        return pool_token(ROOT_TOKEN.encode(), self.namespace, self.pool)

    def apply(self, *objects: dict[str, Any]) -> None:
        self.server.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(objects))

    def delete(self, kind: str, name: str) -> None:
        self.server.kubectl("-n", self.namespace, "delete", kind, name)

    def model(self, name: str, *, namespace: str | None = None, **spec: Any) -> None:
        source = {"http": {"url": "https://models.example/a.gguf", "sha256": "0" * 64}}
        self.apply({"apiVersion": "paddock.dev/v1alpha1", "kind": "Model",
                    "metadata": {"name": name, "namespace": namespace or self.namespace},
                    "spec": {"source": source, "poolRef": {"name": self.pool, "namespace": self.namespace}, **spec}})

    def pod(self, ordinal: int = 0, **fields: Any) -> FakePod:
        return FakePod(name=f"{self.pool}-runtime-{ordinal}", token=self.token, **fields)

    def pods(self, *pods: FakePod, ready: Sequence[str] | None = None) -> None:
        """One EndpointSlice for each pod: they share this machine's address and differ by port."""
        self.apply(*(self._slice(pod.name, pod.address, pod.port, ready is None or pod.name in ready)
                     for pod in pods))

    def place(self, name: str, address: str, port: int, *, ready: bool = True) -> None:
        """The EndpointSlice of a pod of any kind."""
        self.apply(self._slice(name, address, port, ready))

    def _slice(self, name: str, address: str, port: int, ready: bool) -> dict[str, Any]:
        labels = {"app.kubernetes.io/name": "paddock-runtime", "paddock.dev/pool": self.pool,
                  "paddock.dev/pool-namespace": self.namespace}
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
                "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": ready},
                               "targetRef": {"kind": "Pod", "name": name, "namespace": self.namespace}}]}


@dataclass
class Gateway:
    """`with Gateway(cluster, folder) as gateway`: a process, ready when the block begins. `site`: a folder with a
    sitecustomize of its own."""

    cluster: Cluster
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] | None = None
    await_ready: bool = True
    site: Path | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        token = self.folder / "root-token"
        token.write_text(ROOT_TOKEN)
        places = [*([self.site] if self.site is not None else []), *(_REPOSITORY / part for part in _PATH)]
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, places)),
            "PADDOCK_LISTEN": "127.0.0.1:0", "PADDOCK_ADMIN_LISTEN": "127.0.0.1:0",
            "PADDOCK_ROOT_TOKEN_FILE": str(token), "PADDOCK_KUBECONFIG": str(self.cluster.account),
            "PADDOCK_DEFAULT_POOL": f"{self.cluster.namespace}/{self.cluster.pool}", "PADDOCK_GRACE_SECONDS": "0.5",
            "PADDOCK_POD": self.folder.name, "PYTHONWARNINGS": "error", "PYTHONASYNCIODEBUG": "",
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE")},
            **self._access(), **self.settings}
        self.log_file = self.folder / "log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "paddock_gateway"], env=environment, cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            started = eventually(self._started)
            self.url = f"http://127.0.0.1:{started['public']}"
            self.admin = f"http://127.0.0.1:{started['admin']}"
            if self.await_ready:
                eventually(lambda: self.probe("readyz") == 200)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._end(at_once=kind is not None)
        if kind is not None:
            print(self.log_text()[-5000:])  # beside the failure
        else:
            assert "Traceback" not in self.log_text(), self.log_text()[-5000:]
            assert ROOT_TOKEN not in self.log_text()

    def _end(self, *, at_once: bool) -> None:
        """Two signals that come at once are one: the second, which asks for an end without drain, waits a little."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
        for _ in range(3):
            try:
                self.process.wait(DEADLINE / 20)
            except subprocess.TimeoutExpired:
                self.process.terminate()
            else:
                return
        self.process.kill()
        self.process.wait()
        raise AssertionError("the gateway did not end")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def client(self, key: str = "none", **options: Any) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, timeout=DEADLINE, **{"max_retries": 0, **options})

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.admin}/{path}", timeout=DEADLINE).json()

    def probe(self, path: str) -> int:
        return httpx.get(f"{self.admin}/{path}", timeout=DEADLINE).status_code

    def metrics(self) -> str:
        return httpx.get(f"{self.admin}/metrics", timeout=DEADLINE).text

    def demand(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("demand")["models"].get(model, {"waiting": 0, "answering": 0})
        return found

    def phases(self, model: str) -> list[str]:
        """What this gateway believes of `model` in the pods of the pool."""
        pool = self.get("state")["pools"].get(f"{self.cluster.namespace}/{self.cluster.pool}", {"pods": []})
        return [pod["models"].get(model, "Absent") for pod in pool["pods"]]

    def knows(self, model: str, *phases: str) -> None:
        """Waits until it knows `model` and pods that hold it so."""
        eventually(lambda: model in self.get("state")["models"] and sorted(self.phases(model)) == sorted(phases))

    def log_text(self) -> str:
        return self.log_file.read_text(errors="replace")

    def logs(self, message: str = "request") -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log_text().splitlines()]
        return [line for line in lines if line["message"] == message]

    def _started(self) -> dict[str, int] | None:
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway ended: {self.log_text()}")
        with contextlib.suppress(json.JSONDecodeError):
            for line in self.logs("gateway starts"):
                ports: dict[str, int] = line["data"]
                return ports
        return None

    def _access(self) -> dict[str, str]:
        if self.keys is None:
            return {"PADDOCK_ALLOW_ANONYMOUS": "true"}
        folder = self.folder / "keys"
        folder.mkdir()
        for name, record in self.keys.items():
            (folder / name).write_text(json.dumps(record))
        return {"PADDOCK_KEYS_DIR": str(folder)}


def prepare(server: ApiServer) -> Path:
    """Our resources, and the kubeconfig of an account that may do what a gateway's may: read three kinds."""
    server.kubectl("apply", "--server-side", "-f", str(_REPOSITORY / "crds"))
    server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    rules = [{"apiGroups": ["paddock.dev"], "resources": ["models", "runtimepools"], "verbs": ["list", "watch"]},
             {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}]
    rbac = "rbac.authorization.k8s.io"
    server.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all([
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "test-gateway"}, "rules": rules},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "test-gateway"},
         "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "test-gateway"},
         "subjects": [{"apiGroup": rbac, "kind": "User", "name": "test-gateway"}]}]))
    return server.user("test-gateway", common_name="test-gateway")


def record(key: str, *namespaces: str, **fields: Any) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(key.encode()).hexdigest(), "namespaces": list(namespaces), **fields}


@contextlib.contextmanager
def fresh_namespace(server: ApiServer, account: Path) -> Iterator[Cluster]:
    """A namespace with a RuntimePool. What is in it is deleted at the end, so that no other test meets its Models."""
    cluster = Cluster(server, f"gw-{secrets.token_hex(4)}", account)
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace}},
        {"apiVersion": "paddock.dev/v1alpha1", "kind": "RuntimePool",
         "metadata": {"name": cluster.pool, "namespace": cluster.namespace}, "spec": {"replicas": 2, "memory": "1Gi"}})
    try:
        yield cluster
    finally:
        for kind in ("models", "runtimepools", "endpointslices"):
            server.kubectl("-n", cluster.namespace, "delete", kind, "--all", "--wait=false")
