"""A gateway in front of pods: what it passes on, to whom, what it adds, and whom it refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIStatusError, BadRequestError, NotFoundError

from paddock_api.errors import Code
from tests.integration.gateway.client import ask, code_of
from tests.integration.gateway.fake_pod import refuse
from tests.integration.gateway.kit import Cluster, Gateway, eventually, record

_ROUTES = [("GET", "/v1/models"), ("GET", "/v1/models/gemma"), ("POST", "/v1/chat/completions"),
           ("POST", "/v1/completions"), ("POST", "/v1/embeddings")]


def test_the_openai_client_gets_what_the_pod_says(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma", aliases=["my-gpt"])
    name = f"{cluster.namespace}/gemma"
    with cluster.pod(models={name: "Cached"}) as pod, Gateway(cluster, tmp_path / "gw") as gateway:
        cluster.pods(pod)
        gateway.knows(name, "Cached")
        client = gateway.client()
        assert [model.id for model in client.models.list()] == ["gemma"]
        assert client.models.retrieve(name).owned_by == cluster.namespace
        answer = client.chat.completions.create(model="gemma", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == f"from {pod.name}"
        stream = client.chat.completions.create(
            model="my-gpt", messages=[{"role": "user", "content": "hi"}], stream=True)
        assert "".join(part.choices[0].delta.content or "" for part in stream) == f"from {pod.name}"
        vectors = client.embeddings.create(model=name, input="hi", encoding_format="float")
        assert vectors.data[0].embedding == [0.5, 0.25]
        assert pod.loads == [name]
        assert [seen.model for seen in pod.requests] == [name] * 3
        assert [json.loads(seen.body)["model"] for seen in pod.requests] == ["gemma", "my-gpt", name]
        gateway.knows(name, "Ready")
        lines = eventually(lambda: (found := gateway.logs()) and len(found) >= 5 and found)
        assert [(line["status"], line["model"]) for line in lines[-3:]] == [(200, name)] * 3
        assert lines[-3]["tokens"] == 3
        assert all(line["pod"] == pod.name and line["revision"] == "r1" for line in lines[-2:])


def test_bodies_pass_byte_for_byte_and_headers_do_not(cluster: Cluster, tmp_path: Path) -> None:
    """Input 13: what a pod trusts it gets from the gateway alone, whatever a client sends."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    body = b'{ "model":"gemma" ,\n\t"messages":[{"role":"user","content":"\\u00e4\xc3\xa4"}],"x":1e400,"y":-0.0 }'
    with cluster.pod(models={name: "Ready"}) as pod, Gateway(cluster, tmp_path / "gw") as gateway:
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        response = httpx.post(f"{gateway.url}/v1/chat/completions", content=body, headers={
            "Authorization": "Bearer client-canary-0123456789", "paddock-model": "other/secret", "paddock_model": "x/y",
            "Paddock-Tenant": "somebody", "paddock-hold": "9999", "x-request-id": "mine-1", "Cookie": "a=b",
            "X-Forwarded-For": "1.2.3.4", "Content-Type": "application/vnd.api+json", "paddock_tenant": "z"})
        assert response.status_code == 200
        assert response.headers["x-request-id"] == "mine-1"
        assert "x-pod-secret" not in response.headers
        assert "paddock-pod" not in response.headers
        (seen,) = pod.requests
        assert seen.body == body
        assert sorted(name.decode().lower() for name, _ in seen.raw_headers) == sorted([
            "host", "user-agent", "accept", "accept-encoding", "authorization", "content-type", "content-length",
            "paddock-model", "paddock-tenant", "paddock-hold", "paddock-deadline", "x-request-id"])
        assert seen.headers["paddock-model"] == name
        assert seen.headers["paddock-tenant"] == "anonymous"
        assert 299 < float(seen.headers["paddock-hold"]) <= 300
        assert 3599 < float(seen.headers["paddock-deadline"]) <= 3600
        assert seen.headers["authorization"] == f"Bearer {pod.token}"
        assert "client-canary" not in gateway.log_text()
        assert pod.token not in gateway.log_text()


def test_a_name_in_two_namespaces_is_never_routed_across(cluster: Cluster, tmp_path: Path) -> None:
    """Fault 19."""
    other = f"{cluster.namespace}-b"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    cluster.model("twin")
    cluster.model("twin", namespace=other)
    cluster.model("single", namespace=other)
    mine, theirs = f"{cluster.namespace}/twin", f"{other}/twin"
    keys = {"me": record("key-me", cluster.namespace), "both": record("key-both", cluster.namespace, other)}
    with (cluster.pod(models={mine: "Ready", theirs: "Ready"}) as pod,
          Gateway(cluster, tmp_path / "gw", keys=keys) as gateway):
        cluster.pods(pod)
        gateway.knows(theirs, "Ready")
        both, me = gateway.client("key-both"), gateway.client("key-me")
        with pytest.raises(BadRequestError) as ambiguous:
            both.chat.completions.create(model="twin", messages=[{"role": "user", "content": "hi"}])
        assert ambiguous.value.code == "ambiguous_model"
        for client, asked, got in ((both, mine, mine), (both, theirs, theirs), (me, "twin", mine)):
            client.chat.completions.create(model=asked, messages=[{"role": "user", "content": "hi"}])
            assert pod.requests[-1].model == got
        for hidden in (theirs, "single", f"{other}/single"):
            with pytest.raises(NotFoundError):
                me.chat.completions.create(model=hidden, messages=[{"role": "user", "content": "hi"}])
        assert [model.id for model in me.models.list()] == ["twin"]
        assert [model.id for model in both.models.list()] == [mine, "single", theirs]
        assert [seen.headers["paddock-tenant"] for seen in pod.requests] == ["both", "both", "me"]
    cluster.server.kubectl("-n", other, "delete", "models", "--all", "--wait=false")


def test_every_route_without_a_key_is_401(cluster: Cluster, tmp_path: Path) -> None:
    """Input 11, and 12: the admin routes are not on the public port."""
    keys = {"me": record("key-canary-0123456789", cluster.namespace), "none": record("key-none"), "bad": {"sha256": ""}}
    with Gateway(cluster, tmp_path / "gw", keys=keys) as gateway:
        for method, path in [*_ROUTES, ("GET", "/v1/anything"), ("DELETE", "/v1/models")]:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "key-canary-0123456789"},
                            {"api-key": "key-canary-0123456789"}):
                response = httpx.request(method, gateway.url + path, headers=headers, content=b"{" * 100)
                assert (response.status_code, code_of(response)) == (401, "invalid_api_key"), (method, path)
            forbidden = httpx.request(method, gateway.url + path, headers={"Authorization": "Bearer key-none"})
            assert (forbidden.status_code, code_of(forbidden)) == (403, "forbidden")
        for path in ("/metrics", "/livez", "/readyz", "/demand", "/state", "/", "/docs", "/v1", "/models/a/b:load"):
            for headers in ({}, {"Authorization": "Bearer key-canary-0123456789"}):
                response = httpx.get(gateway.url + path, headers=headers)
                assert (response.status_code, code_of(response)) == (404, "not_found"), path
        good = {"Authorization": "Bearer key-canary-0123456789"}
        assert httpx.get(f"{gateway.url}/v1/models", headers=good).json() == {"object": "list", "data": []}
        assert httpx.get(f"{gateway.url}/v1/embeddings", headers=good).status_code == 405
        assert httpx.get(f"{gateway.url}/v1/nothing", headers=good).status_code == 404
        for path in ("metrics", "livez", "readyz", "demand", "state"):
            assert gateway.probe(path) == 200
        for path in ("/v1/models", "/v1/chat/completions"):
            assert httpx.get(gateway.admin + path, headers=good).status_code == 404, "no way around the keys"
        queried = httpx.get(f"{gateway.url}/v1/models?api_key=key-canary-0123456789")
        assert queried.status_code == 401
        shown = [gateway.metrics(), *(httpx.get(f"{gateway.admin}/{path}").text for path in ("state", "demand"))]
        command = Path(f"/proc/{gateway.process.pid}/cmdline").read_text()
        for text in (gateway.log_text(), command, *shown):
            assert "canary" not in text, "input 7: neither a client's key nor the root token"
        assert "paddock_gateway_auth_failures_total 36.0" in gateway.metrics()


def test_keys_change_while_the_gateway_runs(cluster: Cluster, tmp_path: Path) -> None:
    with Gateway(cluster, tmp_path / "gw", keys={"a": record("key-a", "*")}) as gateway:
        def status(key: str) -> int:
            return httpx.get(f"{gateway.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

        folder = gateway.folder / "keys"
        assert (status("key-a"), status("key-b")) == (200, 401)
        (folder / "b").write_text(json.dumps(record("key-b", "*")))
        (folder / "a").unlink()
        eventually(lambda: (status("key-a"), status("key-b")) == (401, 200))
        (folder / "b").unlink()
        eventually(lambda: status("key-b") == 401)
        assert httpx.get(f"{gateway.url}/v1/models").status_code == 401


def test_what_is_wrong_with_a_request_is_said_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """Input 4: no pod is asked, and nothing waits."""
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(models={name: "Ready"}) as pod,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_MAX_BODY_BYTES": "100000"}) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        url = f"{gateway.url}/v1/chat/completions"
        for body, status, code in (
                (b"", 400, "invalid_request"), (b"{}", 400, "invalid_request"), (b"[" * 90_000, 400, "invalid_request"),
                (b'{"model":"gemma","x":' + b"[" * 200 + b"]" * 200 + b"}", 400, "invalid_request"),
                (b'{"model":"nobody"}', 404, "model_not_found"), (b"x" * 100_001, 413, "body_too_large"),
                (b'{"model":"a/b/c"}', 404, "model_not_found")):
            response = httpx.post(url, content=body)
            assert (response.status_code, code_of(response)) == (status, code)
        chunked = httpx.post(url, content=iter([b"x" * 60_000] * 40))
        assert (chunked.status_code, code_of(chunked)) == (413, "body_too_large")
        packed = httpx.post(url, content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
        assert (packed.status_code, code_of(packed)) == (400, "unsupported")
        assert not pod.requests


def test_what_a_pod_judges_reaches_the_client_as_it_was_said(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(0, models={name: "Ready"}) as first, cluster.pod(1, models={name: "Ready"}) as second,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_SHOW_POD": "true"}) as gateway):
        cluster.pods(first, second)
        gateway.knows(name, "Ready", "Ready")
        for code in (Code.POISON_REQUEST, Code.CONTEXT_LENGTH_EXCEEDED, Code.CHECKSUM_MISMATCH, Code.ENGINE_HUNG):
            first.behaviour = second.behaviour = refuse(code, f"because of {code.value}", param="messages")
            before = len(first.requests) + len(second.requests)
            with pytest.raises(APIStatusError) as caught:
                gateway.client().chat.completions.create(model="gemma", messages=[{"role": "user", "content": "hi"}])
            assert (caught.value.code, caught.value.param) == (code.value, "messages")
            assert f"because of {code.value}" in caught.value.message
            assert len(first.requests) + len(second.requests) == before + 1, "and no other pod was asked"


def test_the_pods_own_401_is_none_of_the_clients_business(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with (cluster.pod(models={name: "Ready"}) as pod,
          Gateway(cluster, tmp_path / "gw", {"PADDOCK_HOLD_SECONDS": "1"}) as gateway):
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        pod.behaviour = refuse(Code.INVALID_API_KEY, "the pool token is wrong")
        response = ask(gateway, "gemma")
        assert (response.status_code, code_of(response)) == (503, "hold_expired")
        assert "token" not in response.text


def test_ten_thousand_unknown_names_add_one_series(cluster: Cluster, tmp_path: Path) -> None:
    """Input 14, and 15: what clients make up is one line of a log and no label."""
    def series() -> int:
        return sum(not line.startswith("#") for line in gateway.metrics().splitlines())

    with Gateway(cluster, tmp_path / "gw") as gateway, httpx.Client() as client:
        url = f"{gateway.url}/v1/chat/completions"
        client.post(url, json={"model": "nobody"})
        eventually(lambda: 'code="404"' in gateway.metrics())
        before = series()
        for number in range(10_000):
            client.post(url, json={"model": f"name-{number}\r\n{{\"level\":\"fatal\"}}\x1b[31m"})
        assert series() == before
        for path in ("/v1/models/%0d%0a%1b%5b31m", "/v1/%0a{}", "/%E2%80%A8"):
            client.get(gateway.url + path)
        lines = gateway.log_text().splitlines()
        assert len(lines) >= 10_004
        assert all(line.isascii() and line.isprintable() and json.loads(line)["level"] != "fatal" for line in lines)


def test_a_model_that_is_deleted_is_gone_with_its_series(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    name = f"{cluster.namespace}/gemma"
    with cluster.pod(models={name: "Ready"}) as pod, Gateway(cluster, tmp_path / "gw") as gateway:
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        assert ask(gateway, "gemma").status_code == 200
        eventually(lambda: f'model="{name}"' in gateway.metrics())
        cluster.delete("model", "gemma")
        eventually(lambda: ask(gateway, "gemma").status_code == 404)
        eventually(lambda: name not in gateway.metrics())
        assert name not in gateway.get("demand")["models"]


def test_requests_that_trickle_in_end(cluster: Cluster, tmp_path: Path) -> None:
    with Gateway(cluster, tmp_path / "gw", {"PADDOCK_BODY_TIMEOUT_SECONDS": "0.5"}) as gateway:
        def slowly() -> Any:
            yield b"{"
            time.sleep(2)
            yield b"}"

        response = httpx.post(f"{gateway.url}/v1/chat/completions", content=slowly())
        assert (response.status_code, code_of(response)) == (408, "client_stalled")
