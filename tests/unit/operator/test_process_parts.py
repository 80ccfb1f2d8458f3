"""Settings, logs, metrics, probes, failpoints, errors: what a process has around its work."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from paddock_operator import logs
from paddock_operator.admin import serving
from paddock_operator.cluster.account import NoCluster, configure, connection
from paddock_operator.cluster.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    Unavailable,
    error_of,
)
from paddock_operator.cluster.failpoints import EXIT_CODE, Failpoints, from_environment
from paddock_operator.cluster.lease import document_of, record_of
from paddock_operator.cluster.resources import CONFIG_MAPS, MODELS, NAMESPACES
from paddock_operator.election import Record
from paddock_operator.metrics import Metrics
from paddock_operator.secrets import Tokens
from paddock_operator.settings import Address, SettingError, read, table
from paddock_operator.store import Key

NEEDED = {"PADDOCK_NAMESPACE": "sys", "PADDOCK_ROOT_TOKEN_FILE": "/t", "PADDOCK_RUNTIME_IMAGE": "i:1",
          "HOSTNAME": "op-0"}


def test_settings_have_defaults_and_flags_win() -> None:
    found = read(NEEDED, {"PADDOCK_DEFAULT_POOL": "a/b", "PADDOCK_LISTEN": "[::]:99"})
    assert (found.pool, found.listen, found.identity) == (Key("a", "b"), Address("::", 99), "op-0")
    assert read(NEEDED).pool == Key("sys", "default")
    assert read({**NEEDED, "PADDOCK_WORKERS": ""}).workers == 16


@pytest.mark.parametrize(("change", "says"), [
    ({"PADDOCK_NAMESPACE": ""}, "PADDOCK_NAMESPACE is not set"),
    ({"PADDOCK_DEFAULT_POOL": "x"}, "PADDOCK_DEFAULT_POOL: 'x' can't be used: give namespace/name"),
    ({"PADDOCK_LISTEN": "9090"}, "give host:port"),
    ({"PADDOCK_WORKERS": "0"}, "from 1 to 256"),
    ({"PADDOCK_RESYNC_SECONDS": "nan"}, "give seconds"),
    ({"PADDOCK_LOG_LEVEL": "loud"}, "give one of debug"),
    ({"PADDOCK_LEASE_RENEW_SECONDS": "15"}, "must exceed the renew deadline"),
])
def test_settings_that_cannot_be_used_name_their_variable(change: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match="PADDOCK_") as caught:
        read({**NEEDED, **change})
    assert says in str(caught.value)


def test_every_setting_is_told_with_its_default() -> None:
    told = {name: default for name, default, text in table() if text}
    assert told["PADDOCK_LISTEN"] == "0.0.0.0:9090"
    assert told["PADDOCK_NAMESPACE"] == ""
    done = subprocess.run([sys.executable, "-m", "paddock_operator", "--help"], capture_output=True, text=True,
                          check=True, timeout=60)
    assert all(f"({name})" in done.stdout.replace("\n", " ") or name == "HOSTNAME" or name in done.stdout
               for name in told)


def test_a_process_without_settings_says_what_is_missing() -> None:
    done = subprocess.run([sys.executable, "-m", "paddock_operator"], capture_output=True, text=True, check=False,
                          timeout=60, env={"PATH": ""})
    assert done.returncode == 2
    assert done.stderr.startswith("paddock-operator: PADDOCK_NAMESPACE is not set")


def test_a_log_line_is_one_line_whatever_is_in_it() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("test_operator_logs")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger.addHandler(handler)
    logger.propagate = False
    evil = "a\r\nb\x1b[31m\u2028c\x7f"
    try:
        raise ValueError(evil)
    except ValueError:
        logger.exception("%s", evil, extra={"key": evil})
    logger.error("Authorization: Bearer abcdef123456 and hf_abcdefghijk and https://x/y?sig=s3cr3t %s", "z" * 9000)
    first, second = stream.getvalue().splitlines()
    assert json.loads(first)["message"] == evil
    assert json.loads(first)["key"] == evil
    assert first.isascii()
    assert first.isprintable()
    for secret in ("abcdef123456", "abcdefghijk", "s3cr3t"):
        assert secret not in second
    assert len(second) < 5000


@pytest.mark.parametrize(("status", "body", "kind", "reason"), [
    (404, {"reason": "NotFound", "message": "m"}, NotFound, "NotFound"),
    (409, {"reason": "Conflict"}, Conflict, "Conflict"),
    (409, {"reason": "AlreadyExists"}, AlreadyExists, "AlreadyExists"),
    (410, {"reason": "Expired"}, Gone, "Expired"),
    (422, {"reason": "Invalid"}, Invalid, "Invalid"),
    (403, {"reason": "Forbidden"}, ApiError, "Forbidden"),
    (429, {}, Unavailable, "Unknown"),
    (503, None, Unavailable, "Unknown"),
])
def test_answers_are_told_apart_by_what_to_do_about_them(status: int, body: Any, kind: type, reason: str) -> None:
    found = error_of(status, b"<html>" if body is None else json.dumps(body).encode(), "7")
    assert type(found) is kind
    assert (found.status, found.reason) == (status, reason)
    if isinstance(found, Unavailable):
        assert found.retry_after == 7.0


def test_paths() -> None:
    assert MODELS.path("n", "m", "status") == "/apis/paddock.dev/v1alpha1/namespaces/n/models/m/status"
    assert CONFIG_MAPS.path() == "/api/v1/configmaps"
    assert CONFIG_MAPS.path("n", "../x") == "/api/v1/namespaces/n/configmaps/..%2Fx"
    assert NAMESPACES.path(None, "n") == "/api/v1/namespaces/n"


def test_a_lease_survives_its_way_to_the_api_server_and_back() -> None:
    record = Record(holder="me", duration=15.0, acquired=1_790_000_000.25, renewed=1_790_000_003.5, transitions=3,
                    version="9")
    assert record_of(document_of(record, "n", "l")) == record
    assert record_of({"metadata": {"resourceVersion": "1"}, "spec": {}}) == Record(holder="", duration=0.0, version="1")


def test_failpoints_do_nothing_unless_a_test_says_so(tmp_path: Path) -> None:
    assert not from_environment({"PADDOCK_FAILPOINT": "before-apply-models:1"})._targets
    trace = tmp_path / "trace"
    points = Failpoints((), trace)
    for name in ("a", "b", "a"):
        points.passed(name)
    assert trace.read_text().split() == ["a:1", "b:1", "a:2"]
    with pytest.raises(ValueError, match="NAME:NUMBER"):
        from_environment({"PADDOCK_TEST_FAILPOINTS": "1", "PADDOCK_FAILPOINT": "a:1,x"})


@pytest.mark.parametrize("armed", ["w:2", "w:3,v:1,w:2"])
def test_a_failpoint_ends_the_process_at_just_that_moment(armed: str) -> None:
    script = ("from paddock_operator.cluster.failpoints import from_environment\n"
              f"points = from_environment({{'PADDOCK_TEST_FAILPOINTS': '1', 'PADDOCK_FAILPOINT': '{armed}'}})\n"
              "for number in range(5):\n"
              "    points.passed('w'); print(number, flush=True)\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.split()) == (EXIT_CODE, ["0"])


async def test_probes_and_metrics() -> None:
    metrics, wrong = Metrics(), list[str]()
    metrics.wrote("apply", "models-status", "ok")
    metrics.queue("models").reconciled(Key("n", "m"), "ok", 0.1)
    metrics.objects({"models": [1, 2, 3]})
    metrics.leads(lambda: 1.0)
    check = lambda: wrong[0] if wrong else None  # noqa: E731 - two probes, one switch
    async with serving(Address("127.0.0.1", 0), metrics, alive=check, ready=check) as port, \
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for path in ("/livez", "/readyz"):
            async with session.get(path) as answer:
                assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        wrong.append("a pass has taken 200 s")
        async with session.get("/livez") as answer:
            assert (answer.status, (await answer.json())["reason"]) == (503, "a pass has taken 200 s")
        async with session.get("/metrics") as answer:
            text = await answer.text()
    assert 'paddock_operator_writes_total{kind="models-status",outcome="ok",verb="apply"} 1.0' in text
    assert 'paddock_operator_objects{kind="models"} 3.0' in text
    assert "paddock_operator_leader 1.0" in text


async def test_the_account_is_the_pods_and_its_token_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_text("x")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = await configure(None, environment=environment, folder=tmp_path)
    assert (found.host, (await connection(found)).token) == ("https://[fd00::1]:443", "first")
    (tmp_path / "token").write_text("second")
    assert (await connection(found)).token == "second"
    for missing in ({}, {"KUBERNETES_SERVICE_HOST": "h"}):
        with pytest.raises(NoCluster, match="no cluster"):
            await configure(None, environment=missing, folder=tmp_path)
    with pytest.raises(NoCluster, match="can't be used"):
        await configure(str(tmp_path / "none"))


def test_tokens_come_from_the_file_as_it_is_now(tmp_path: Path) -> None:
    file = tmp_path / "root"
    file.write_text("a" * 40 + "\n")
    tokens = Tokens(file)
    first = tokens.of(Key("n", "p"))
    assert first == tokens.of(Key("n", "p")) != tokens.of(Key("n", "q"))
    file.write_text("b" * 40)
    assert tokens.of(Key("n", "p")) != first
    file.write_text("short-secret")
    with pytest.raises(ValueError, match="at least 32") as caught:
        tokens.of(Key("n", "p"))
    assert "short-secret" not in str(caught.value)
