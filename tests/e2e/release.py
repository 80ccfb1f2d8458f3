"""The chart, installed by Helm as a user would, and what the tests ask of it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from paddock_api import cluster_names as names
from tests.cluster.images import ROOT
from tests.e2e.client import Answer, Client, request
from tests.e2e.ground import Ground
from tests.e2e.kubectl import Kubectl

CHART = ROOT / "charts/paddock"
NAME, NAMESPACE, POOL = "paddock", "paddock-system", "default"
REPLICAS = 2
MEMORY = "1Gi"
_ADMIN, _PORT = 9090, 8080


class HelmError(Exception):
    """What Helm complained about."""


@dataclass(frozen=True)
class Release:
    """`kubectl` works in its namespace; `hub` is the Hugging Face Hub that it is told of."""

    ground: Ground
    kubectl: Kubectl
    client: Client
    hub: str

    # --- Helm

    def install(self) -> None:
        self.helm("install", NAME, str(CHART), "--values=-", "--wait", "--timeout=5m",
                  input=json.dumps(values(self.ground.images, self.hub)))
        self.pool_is_up()

    def upgrade(self, *settings: str) -> None:
        """With what was set before, and these: `gateway.holdSeconds=2`."""
        self.helm("upgrade", NAME, str(CHART), "--reset-then-reuse-values", "--wait", "--timeout=5m",
                  *(f"--set={each}" for each in settings))

    def helm(self, *arguments: str, input: str = "") -> str:
        """What it printed. Raises HelmError."""
        command = [str(self.ground.helm), f"--kubeconfig={self.ground.kubeconfig}", f"--namespace={NAMESPACE}"]
        done = subprocess.run([*command, *arguments], input=input, capture_output=True, text=True, check=False,
                              timeout=400)
        if done.returncode:
            raise HelmError(f"helm {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    # --- clients

    @property
    def url(self) -> str:
        """The gateways' Service, as pods of the cluster name it."""
        return f"http://{NAME}-gateway.{NAMESPACE}.svc.cluster.local"

    def key(self) -> str:
        """The generated API key."""
        return self._secret(f"{NAME}-api-key", "key")

    def completion(self, model: str, *, at: str = "", tokens: int = 4, stream: bool = False,
                   **more: Any) -> dict[str, Any]:
        """A request for `Client` and `probing`. `at`: a gateway's own URL. `more`: as in agent.py."""
        body = {"model": model, "prompt": "Once upon a time", "max_tokens": tokens, "temperature": 0, "stream": stream,
                "ignore_eos": True}
        headers = {"Authorization": f"Bearer {self.key()}"}
        reading = {"read_lines": 0} if stream else {}
        return request(f"{at or self.url}/v1/completions", body, headers=headers, **reading, **more)

    def complete(self, model: str, **more: Any) -> Answer:
        return self.client.ask_all([self.completion(model, **more)])[0]

    # --- its pods

    def pods(self, part: str) -> list[dict[str, Any]]:
        """Of `operator`, `gateway` or `runtime`, by name; without those that are about to go."""
        found = self.kubectl.list("pods", f"{names.LABEL_NAME}=paddock-{part}")
        return sorted((pod for pod in found if "deletionTimestamp" not in pod["metadata"]),
                      key=lambda pod: str(pod["metadata"]["name"]))

    def metric(self, pod: Mapping[str, Any], name: str, **labels: str) -> float:
        """Of an operator or a gateway: the sum of all series of that name which have these labels."""
        answer = self.client.ask(f"http://{address(pod)}:{_ADMIN}/metrics")
        assert answer.status == 200, answer
        return sum_of(answer.text, name, labels)

    def gateway_state(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.client.ask(f"http://{address(pod)}:{_ADMIN}/state").json()
        return found

    def states(self) -> dict[str, dict[str, Any]]:
        """What each runtime pod says of itself, by its name."""
        token = self._secret(names.token_secret(POOL), names.TOKEN_KEY)
        pods = self.pods("runtime")
        answers = self.client.ask_all([
            request(f"http://{address(pod)}:{_PORT}/state", headers={"Authorization": f"Bearer {token}"})
            for pod in pods])
        assert [answer.status for answer in answers] == [200] * len(pods), answers
        return {pod["metadata"]["name"]: answer.json() for pod, answer in zip(pods, answers, strict=True)}

    def held(self, namespace: str, name: str) -> dict[str, dict[str, Any]]:
        """What each runtime pod that knows the Model says of it."""
        return {pod: model for pod, state in self.states().items() for model in state["models"]
                if (model["namespace"], model["name"]) == (namespace, name)}

    def pool_is_up(self) -> None:
        """All its pods are ready and have its configuration."""
        self.kubectl.wait(f"runtimepool/{POOL}", "condition=Ready")

    def _secret(self, name: str, key: str) -> str:
        return base64.b64decode(self.kubectl.get("secret", name)["data"][key]).decode()


def address(pod: Mapping[str, Any]) -> str:
    return str(pod["status"]["podIP"])


def values(images: Mapping[str, str], hub: str) -> dict[str, Any]:
    """Two of each, small, and the hub of the tests."""
    return {
        **{part: {"image": _image(images[part])} for part in ("operator", "runtime")},
        "gateway": {"image": _image(images["gateway"]), "drainSeconds": 10},
        "pool": {"spec": {"replicas": REPLICAS, "memory": MEMORY, "drainSeconds": 15,
                          "allowedNamespaces": {"all": True}}},
        "hub": {"endpoint": hub, "allowedHosts": [urlsplit(hub).hostname]},
    }


def _image(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}


def sum_of(text: str, name: str, labels: Mapping[str, str]) -> float:
    """Over the series of a Prometheus text."""
    wanted: Sequence[str] = [f'{key}="{value}"' for key, value in labels.items()]
    total = 0.0
    for line in text.splitlines():
        found = re.fullmatch(rf"{re.escape(name)}(\{{.*\}})? (\S+)", line)
        if found and all(each in (found[1] or "") for each in wanted):
            total += float(found[2])
    return total
