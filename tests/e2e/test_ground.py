"""The ground that the other tests stand on: pods, names, requests, the hub, the images."""

from __future__ import annotations

import json

import pytest

from tests.e2e import pods
from tests.e2e.client import Client, request
from tests.e2e.ground import Ground
from tests.e2e.kubectl import Kubectl
from tests.e2e.recipes import TINY, TOOLS, repositories, tiny_repository

PARTS = ("operator", "gateway", "runtime")


def test_the_hub_serves_every_model_in_full(hub: str, client: Client) -> None:
    for name, file in repositories().items():
        owner, repository, path = name.split("/", 2)
        url = f"{hub}/{owner}/{repository}/resolve/main/{path}"
        head = client.ask(url, method="HEAD", headers={"accept-encoding": "identity"})
        assert head.status in (200, 302), head
        assert int(head.headers["x-linked-size"]) == file.stat().st_size


def test_requests_at_once_are_answered_in_order(hub: str, client: Client) -> None:
    paths = [tiny_repository(n) for n in range(TINY)] * 5
    answers = client.ask_all([request(f"{hub}/api/models/{path}") for path in paths])
    assert [answer.json()["id"] for answer in answers] == paths


def test_a_pod_that_asks_for_rights_is_refused(namespace: Kubectl, cluster: Ground) -> None:
    greedy = pods.python("greedy", cluster.images[TOOLS], ["-c", ""])
    greedy["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    refused = namespace.attempt("create", "-f", "-", input=json.dumps(greedy))
    assert refused.returncode == 1
    assert 'violates PodSecurity "restricted' in refused.stderr


@pytest.mark.parametrize("part", PARTS)
def test_an_image_holds_its_part_and_no_tools(part: str, namespace: Kubectl, cluster: Ground) -> None:
    look = (
        "import importlib.util as u, os, shutil\n"
        "print(os.getuid(), os.getgid())\n"
        f"print(*(p for p in {PARTS} if u.find_spec('paddock_' + p)))\n"
        "print(*(t for t in ('cc', 'gcc', 'make', 'cmake', 'pip', 'go') if shutil.which(t)), '-')\n"
        "print(os.access('/opt/paddock/app', os.W_OK))\n"
    )
    pod = pods.python("look", cluster.images[part], ["-c", look])
    pod["spec"]["containers"][0]["command"] = ["/opt/paddock/bin/python"]
    pod["spec"]["restartPolicy"] = "Never"
    namespace.apply(pod)
    namespace.wait("pod/look", "jsonpath={.status.phase}=Succeeded", within=60)
    assert namespace("logs", "look").splitlines() == ["65532 65532", part, "-", "False"]
