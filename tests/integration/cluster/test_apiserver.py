"""The test bed itself: what tests/cluster/apiserver.py promises to those who test with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster import binaries
from tests.cluster.apiserver import ApiServer
from tests.cluster.problems import ClusterError


@pytest.fixture(scope="module")
def own() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def test_what_was_stored_survives_an_outage(own: ApiServer) -> None:
    own.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    before = own.kubectl("get", "configmap", "kept", "-o=json")
    own.stop()
    refused = own.kubectl("get", "configmap", "kept", check=False)
    own.start()
    assert "refused" in refused
    assert json.loads(own.kubectl("get", "configmap", "kept", "-o=json")) == json.loads(before)


def test_a_frozen_server_takes_connections_and_answers_nothing(own: ApiServer) -> None:
    own.freeze()
    silent = own.kubectl("get", "--raw=/readyz", "--request-timeout=1s", check=False)
    own.thaw()
    assert "refused" not in silent
    assert silent != "ok"
    assert own.kubectl("get", "--raw=/readyz") == "ok"


def test_a_user_has_the_rights_that_were_given_and_no_other(api_server: ApiServer) -> None:
    somebody = api_server.user("somebody", common_name="somebody")
    api_server.kubectl("create", "role", "reader", "--verb=get", "--resource=configmaps")
    api_server.kubectl("create", "rolebinding", "reader", "--role=reader", "--user=somebody")

    def may(verb: str) -> str:
        command = [str(binaries.path("kubectl")), f"--kubeconfig={somebody}", "auth", "can-i", verb, "configmaps"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()

    assert [may("get"), may("delete")] == ["yes", "no"]


def test_the_version_is_the_pinned_one(api_server: ApiServer) -> None:
    version = json.loads(api_server.kubectl("version", "-o=json"))
    assert [version[end]["gitVersion"] for end in ("clientVersion", "serverVersion")] == [binaries.VERSION] * 2


def test_a_wrong_flag_is_reported_with_the_servers_own_words() -> None:
    with pytest.raises(ClusterError, match="unknown flag: --no-such-flag"), ApiServer(flags=["--no-such-flag"]):
        raise AssertionError("it started")
