"""Routes beside inference, errors of every kind in one shape, inputs 4, 14 and 15."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from paddock_api.errors import PaddockError
from paddock_api.events import EventType
from paddock_api.identity import ModelId
from paddock_runtime import logs
from paddock_runtime.jobs import Job
from paddock_runtime.server.app import create_app
from tests.unit.server.driver import CHAT, STREAM, WAIT, begin, call, make_app, make_context
from tests.unit.server.scripted import GEMMA, ScriptedService, ScriptedStream


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """All logs of the test, as they would go to stderr."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(stream=stream)
    yield stream
    root.handlers[:], root.level = before, level
    logging.captureWarnings(False)


async def test_models_listed_and_described() -> None:
    app = make_app(ScriptedService())
    listed = (await call(app, "GET", "/v1/models")).json()
    created = listed["data"][0].pop("created")
    assert listed == {"object": "list", "data": [{"id": "gemma", "object": "model", "owned_by": "default"}]}
    one = await call(app, "GET", "/v1/models/default/gemma")
    assert one.json() == {"id": "default/gemma", "object": "model", "created": created, "owned_by": "default"}
    assert (await call(app, "GET", "/v1/models/none")).status == 404


@pytest.mark.parametrize("verb", ["load", "unload", "prefetch"])
async def test_loading_by_hand(verb: str) -> None:
    service = ScriptedService()
    answer = await call(make_app(service), "POST", f"/models/default/gemma:{verb}")
    assert (answer.status, answer.json()) == (202, {"model": "default/gemma", "phase": "Ready"})
    assert service.asked == [(verb, ModelId("default", "gemma"))]
    assert (await call(make_app(service), "POST", f"/models/default/none:{verb}")).status == 404


async def test_probes() -> None:
    service = ScriptedService()
    context = make_context(service)
    app = create_app(context)
    assert [(await call(app, "GET", path)).status for path in ("/livez", "/readyz")] == [200, 200]
    service.draining = True
    assert [(await call(app, "GET", path)).status for path in ("/livez", "/readyz")] == [200, 503]
    context.ailment = lambda: "the scheduler did nothing for 40 s"
    assert (await call(app, "GET", "/livez")).status == 503


async def test_state_is_the_pod_s() -> None:
    body = (await call(make_app(ScriptedService()), "GET", "/state")).json()
    assert (body["pod"], body["models"][0]["phase"], body["memory"]["budget_bytes"]) == ("test", "Ready", 100)


async def test_events_snapshot_then_changes_then_a_snapshot_after_a_gap() -> None:
    service = ScriptedService()
    service.bus.publish(EventType.CONFIG, generation=1)
    context = make_context(service, idle_heartbeat=0.05)
    exchange, task = begin(create_app(context), "GET", "/events")
    await exchange.until(b": heartbeat")
    service.bus.publish(EventType.PHASE, model="default/gemma", **{"from": "Cached", "to": "Loading"})
    await exchange.until(b"event: change")
    for number in range(2000):
        service.bus.publish(EventType.PROGRESS, model="default/gemma", fraction=number / 2000)
    await exchange.until(f"event: snapshot\nid: {service.bus.epoch}-2002".encode())
    context.ending.set()
    async with asyncio.timeout(WAIT):
        await task
    assert exchange.complete
    ids = re.findall(r"event: (\w+)\nid: \w+-(\d+)\n", exchange.body.decode())
    assert ids[:2] == [("snapshot", "1"), ("change", "2")]
    sequences = [int(sequence) for _, sequence in ids]
    assert sequences == sorted(sequences)


async def test_a_follower_that_leaves_is_forgotten() -> None:
    service = ScriptedService()
    exchange, task = begin(make_app(service), "GET", "/events")
    await exchange.until(b"snapshot")
    assert len(service.bus._subscriptions) == 1
    exchange.left.set()
    async with asyncio.timeout(WAIT):
        await task
    assert not service.bus._subscriptions


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), [
    ("GET", "/nowhere", b"", 404, "not_found"),
    ("GET", "/v1/chat/completions", b"", 405, "method_not_allowed"),
    ("POST", "/v1/chat/completions", b"{", 400, "invalid_request"),
    ("POST", "/v1/chat/completions", {**CHAT, "model": "none"}, 404, "model_not_found"),
    ("POST", "/v1/chat/completions", {**CHAT, "tools": [{}]}, 400, "unsupported"),
])
async def test_every_error_has_openai_s_shape(method: str, path: str, body: Any, status: int, code: str) -> None:
    answer = await call(make_app(ScriptedService()), method, path, body)
    assert answer.status == status
    error = answer.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert answer.headers["x-request-id"].startswith("req-")


class Broken(ScriptedService):
    def submit(self, job: Job) -> ScriptedStream:
        raise RuntimeError("secret internals")


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
async def test_a_bug_is_a_500_with_a_request_id_and_no_internals(body: dict[str, Any], lines: io.StringIO) -> None:
    answer = await call(make_app(Broken()), "POST", "/v1/chat/completions", body, {"x-request-id": "abc"})
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "abc" in answer.json()["error"]["message"]
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert any("secret internals" in line.get("error", "") and line["request_id"] == "abc" for line in logged)


@pytest.mark.parametrize(("sent", "kept"), [
    ("abc-1.2_3", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a\x1b[31m", False), ("", False)])
async def test_request_ids_are_taken_only_when_plain(sent: str, kept: bool) -> None:
    answer = await call(make_app(ScriptedService()), "GET", "/livez", headers={"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is kept
    assert re.fullmatch(r"[\w.-]{1,64}", answer.headers["x-request-id"])


# --- input 4: bodies that are too large ----------------------------------------------------------


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    answer = await call(make_app(ScriptedService()), "POST", "/v1/chat/completions", b"x" * 100,
                        {"content-length": str(9 << 20)})
    assert (answer.status, answer.json()["error"]["code"], answer.read) == (413, "body_too_large", 0)


async def test_a_body_without_length_is_cut_at_the_limit() -> None:
    exchange, task = begin(make_app(ScriptedService()), "POST", "/v1/chat/completions", b"")
    exchange.bodies = iter([b"x" * (1 << 20)] * 100)
    async with asyncio.timeout(WAIT):
        await task
    assert exchange.status == 413
    assert exchange.read == 9 << 20


async def test_a_body_that_never_comes_is_given_up() -> None:
    exchange, task = begin(make_app(ScriptedService(), body_timeout=0.05), "POST", "/v1/chat/completions")
    exchange.bodies = iter([b"{"])
    exchange.scope["body_done"] = True
    async with asyncio.timeout(WAIT):
        await task
    assert exchange.status == 408


# --- input 14: metric labels ---------------------------------------------------------------------


def series(text: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name = re.split(r"[{ ]", line)[0]
            counts[name] = counts.get(name, 0) + 1
    return counts


async def test_10_000_unknown_names_add_at_most_one_series_a_metric() -> None:
    context = make_context(ScriptedService())
    app = create_app(context)
    await call(app, "POST", "/v1/chat/completions", CHAT)
    before = series((await call(app, "GET", "/metrics")).body.decode())
    for number in range(10_000):
        with pytest.raises(PaddockError):
            context.service.resolve(f"made-up-{number}")
    logging.disable(logging.INFO)
    try:
        for number in range(10_000):
            answer = await call(app, "POST", "/v1/chat/completions", {**CHAT, "model": f"made-up-{number}"})
            assert answer.status == 404
    finally:
        logging.disable(logging.NOTSET)
    after = series((await call(app, "GET", "/metrics")).body.decode())
    # /metrics itself was asked for once before, which the second reading shows
    assert {name: after[name] - before.get(name, 0) for name in after if after[name] > before.get(name, 0)} == {
        "paddock_requests_total": 2, "paddock_requests_created": 2}
    assert "made-up" not in str(after)


async def test_metrics_follow_requests_and_the_bus() -> None:
    service = ScriptedService()
    app = make_app(service)
    await call(app, "POST", "/v1/chat/completions", CHAT)
    for before, to in (("Cached", "Loading"), ("Loading", "Ready")):
        service.bus.publish(EventType.PHASE, model=str(GEMMA), **{"from": before, "to": to})
    service.bus.publish(EventType.ENGINE_ENDED, reason="engine_crashed")
    text = (await call(app, "GET", "/metrics")).body.decode()
    for line in ('paddock_requests_total{code="200",endpoint="chat",model="default/gemma"} 1.0',
                 'paddock_time_to_first_token_seconds_count{model="default/gemma"} 1.0',
                 'paddock_inter_token_seconds_count{model="default/gemma"} 2.0',
                 'paddock_queue_wait_seconds_count{model="default/gemma"} 1.0',
                 'paddock_prompt_tokens_total{model="default/gemma"} 5.0',
                 'paddock_cached_tokens_total{model="default/gemma"} 2.0',
                 'paddock_completion_tokens_total{model="default/gemma"} 3.0',
                 'paddock_loads_total{model="default/gemma"} 1.0',
                 'paddock_load_seconds_count{model="default/gemma"} 1.0',
                 'paddock_engine_ends_total{reason="engine_crashed"} 1.0',
                 'paddock_model_phase{model="default/gemma",phase="Ready"} 1.0',
                 'paddock_memory_bytes{kind="budget"} 100.0'):
        assert line in text.splitlines()
    assert 'phase="Loading"' not in text


async def test_a_model_that_was_removed_has_no_phase_for_ever() -> None:
    service = ScriptedService()
    app = make_app(service)
    for number in range(100):
        for before, to in (("Absent", "Fetching"), ("Fetching", "Cached"), ("Cached", "Absent")):
            service.bus.publish(EventType.PHASE, model=f"default/m{number}", **{"from": before, "to": to})
    service.bus.publish(EventType.PHASE, model=str(GEMMA), **{"from": "Absent", "to": "Cached"})
    lines = (await call(app, "GET", "/metrics")).body.decode().splitlines()
    assert [line for line in lines if line.startswith("paddock_model_phase{")] == [
        'paddock_model_phase{model="default/gemma",phase="Cached"} 1.0']


# --- input 15: logs ------------------------------------------------------------------------------


async def test_names_can_not_break_a_log_line(lines: io.StringIO) -> None:
    evil = "x\r\n{\"level\":\"error\"}\x1b[31m\x9b31m\u2028\x00"
    app = make_app(ScriptedService())
    await call(app, "POST", "/v1/chat/completions", {**CHAT, "model": evil},
               {"authorization": "Bearer canary-token-1", "x-request-id": "a\x1b[0m"})
    await call(app, "GET", f"/v1/models/{evil}")
    logging.getLogger("test").warning("model %s", evil, extra={"model": evil})
    output = lines.getvalue()
    assert re.fullmatch(r"[\x20-\x7e\n]+", output)
    parsed = [json.loads(line) for line in output.removesuffix("\n").split("\n")]
    assert [line["logger"] for line in parsed] == ["paddock.access", "paddock.access", "test"]
    assert parsed[2]["model"] == evil
    assert "canary" not in output


async def test_the_access_log_tells_who_what_and_how_long(lines: io.StringIO) -> None:
    await call(make_app(ScriptedService()), "POST", "/v1/chat/completions", CHAT, {"x-request-id": "r1"})
    line = json.loads(lines.getvalue())
    assert (line["method"], line["path"], line["status"], line["model"], line["revision"], line["request_id"]) == (
        "POST", "/v1/chat/completions", 200, "default/gemma", "rev-1", "r1")
    assert line["seconds"] >= 0


@pytest.mark.parametrize("message", [
    "Authorization: Bearer canary-123456", "{'authorization': 'canary-123456'}", "got bearer canary-123456",
    "GET https://host/file?X-Amz-Signature=canary-123456", "token hf_canary123456"])
def test_secrets_of_other_libraries_are_cut(message: str, lines: io.StringIO) -> None:
    logging.getLogger("other").warning(message, extra={"data": {"inner": [message]}})
    assert json.loads(lines.getvalue())["level"] == "warning"
    assert "canary" not in lines.getvalue()


def test_an_exception_stays_on_one_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("test").exception("failed")
    assert lines.getvalue().count("\n") == 1
    assert "ValueError: a\nb" in json.loads(lines.getvalue())["error"]
