"""The parts of the HTTP server that need no socket."""

from __future__ import annotations

import io
import json
import logging
import time
from typing import Any

import pytest
from uvicorn._types import ASGISendEvent

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_gateway import logs
from paddock_gateway.fleet.snapshot import Snapshot, name_index
from paddock_gateway.front.answers import answer_refusal, error_body, retry_headers
from paddock_gateway.front.catalog import find_model, list_models
from paddock_gateway.front.connection import head_fault
from paddock_gateway.front.reading import MAX_DEPTH, Words, find_words
from paddock_gateway.front.record import Record, endpoint_of, request_id_of
from paddock_gateway.metrics import UNKNOWN, Gauges, Metrics
from paddock_gateway.proxy.traffic import Use
from paddock_gateway.proxy.verdict import Refusal, Verdict, refused
from tests.unit.gateway.fleet_kit import model

# --- bodies


@pytest.mark.parametrize(("body", "words"), [
    (b'{"model":"a"}', Words("a", False)),
    (b'{"stream":true,"messages":[{"role":"user","content":"{[\\""}],"model":"team/a"}', Words("team/a", True)),
    (b'{"model":"a","stream":null}', Words("a", False)),
    (b'  {"model" : "\\u0061" , "stream": false }  ', Words("a", False)),
])
def test_the_two_words_are_found(body: bytes, words: Words) -> None:
    assert find_words(body) == words


@pytest.mark.parametrize(("body", "said"), [
    (b"", "not JSON"), (b"{", "not JSON"), (b'{"model":"a"} x', "not JSON"), (b"\xff\xfe{}", "not JSON"),
    (b'{"model":"\xff"}', "not UTF-8"), (b"[]", "must be a JSON object"), (b'"model"', "must be a JSON object"),
    (b"{}", "model: give"), (b'{"model":null}', "model: give"), (b'{"model":7}', "model: give"),
    (b'{"model":""}', "model: give"), (b'{"model":["a"]}', "model: give"),
    (b'{"model":"a","stream":"yes"}', "stream: give"),
    (b'{"model":"a","x":' + b"[" * 129 + b"]" * 129 + b"}", f"deeper than {MAX_DEPTH}"),
    (b'{"model":"a","x":' + b"[" * 90_000, f"deeper than {MAX_DEPTH}"),
    (b'{"model":"a","x":[' + b"{}," * 150_000 + b"{}]}", "objects and arrays"),
    (b'{"model":"a","x":' + b'{"a":' * 90_000 + b"1" + b"}" * 90_000 + b"}", f"deeper than {MAX_DEPTH}"),
])
def test_other_bodies_are_refused_with_the_remedy(body: bytes, said: str) -> None:
    began = time.monotonic()
    with pytest.raises(PaddockError) as caught:
        find_words(body)
    assert caught.value.code is Code.INVALID_REQUEST
    assert said in caught.value.message
    assert time.monotonic() - began < 5


def test_a_string_without_an_end_is_looked_through_once() -> None:
    """Each of its quotes could be taken for the begin of another: 100,000 of them would take minutes."""
    began = time.monotonic()
    with pytest.raises(PaddockError):
        find_words(b'{"model":"a","x":' + b"[" * 129 + b'"' + b'\\"' * 100_000)
    assert time.monotonic() - began < 5


def test_brackets_in_strings_are_no_depth() -> None:
    text = "[{" * 1000 + '\\" \\\\'
    assert find_words(json.dumps({"model": "a", "messages": [{"content": text}]}).encode()) == Words("a", False)


# --- heads


@pytest.mark.parametrize("headers", [
    [(b"content-length", b"1"), (b"content-length", b"1")],
    [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
    [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
    [(b"host", b"a"), (b"host", b"b")],
    [(b"authorization", b"a"), (b"authorization", b"b")],
    [(b"content_length", b"1")], [(b"transfer_encoding", b"chunked")],
])
def test_heads_that_two_servers_could_read_differently(headers: list[tuple[bytes, bytes]]) -> None:
    assert head_fault(headers) is not None


def test_other_heads_are_fine() -> None:
    plain = [(b"host", b"a"), (b"content-length", b"1"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x_y", b"")]
    assert head_fault(plain) is None


@pytest.mark.parametrize(("given", "kept"), [
    (b"abc-1.2_X", True), (b"", False), (b"a" * 65, False), (b"a\r\nb", False), (b"\x1b[31m", False), (b"a b", False)])
def test_a_request_keeps_its_id_if_that_is_a_word(given: bytes, kept: bool) -> None:
    assert (request_id_of([(b"x-request-id", given)]) == given.decode("latin-1")) is kept


def test_endpoints_are_few() -> None:
    assert {endpoint_of(f"/v1/models/{number}") for number in range(100)} == {"model"}
    assert {endpoint_of(f"/{number}") for number in range(100)} == {"other"}


def test_tokens_are_read_from_the_end_of_an_answer_and_not_from_its_text() -> None:
    record = Record(request_id="r", endpoint="chat")
    record.ended(json.dumps({"content": 'x"completion_tokens":9'}).encode())
    assert record.tokens is None
    record.ended(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":12,"total_tokens":15}}')
    assert record.tokens == 12


# --- errors


async def _sent(refusal: Refusal) -> tuple[int, dict[bytes, bytes], Any]:
    events: list[ASGISendEvent] = []

    async def send(event: ASGISendEvent) -> None:
        events.append(event)

    await answer_refusal(send, refusal)
    start, body = events
    assert start["type"] == "http.response.start"
    assert body["type"] == "http.response.body"
    return start["status"], dict(start["headers"]), json.loads(body["body"])


@pytest.mark.parametrize("code", Code)
async def test_every_error_is_in_openais_shape_and_says_when_to_come_back(code: Code) -> None:
    status, headers, body = await _sent(refused(PaddockError(code, "why", param="model")))
    assert body["error"] | {"retry_after": 0} == {
        "message": "why", "type": body["error"]["type"], "param": "model", "code": code.value, "retry_after": 0}
    if status in (429, 503):
        assert int(headers[b"retry-after"]) >= 1
    assert status != 409 or headers[b"x-should-retry"] == b"false"


def test_waits_are_whole_seconds_and_never_none() -> None:
    error = refused(PaddockError(Code.QUEUE_FULL, "", retry_after=0.2))
    assert retry_headers(error) == [(b"retry-after", b"1")]
    assert retry_headers(refused(PaddockError(Code.DEADLINE, ""))) == [(b"x-should-retry", b"false")]


def test_a_code_of_a_newer_pod_is_passed_on() -> None:
    refusal = Refusal(verdict=Verdict.FINAL, status=503, code="brand_new", message="why")
    error = error_body(refusal)["error"]
    assert (error["code"], error["type"]) == ("brand_new", "server_error")
    assert error["retry_after"], "a stream has no header that says it"
    plain = Refusal(verdict=Verdict.FINAL, status=422, code="brand_new", message="why")
    assert error_body(plain) == {"error": {
        "message": "why", "type": "invalid_request_error", "param": None, "code": "brand_new"}}


# --- models


def _snapshot() -> Snapshot:
    models = {each.id: each for each in (model("a", "x", created=5), model("b", "x"), model("b", "y", aliases=("c",)))}
    return Snapshot(models=models, names=name_index(models))


def test_models_are_listed_by_their_shortest_clear_name() -> None:
    everything = list_models(_snapshot(), None)
    assert [each["id"] for each in everything["data"]] == ["a", "x/b", "y/b"]
    assert everything["data"][0] == {"id": "a", "object": "model", "created": 5, "owned_by": "x"}
    assert [each["id"] for each in list_models(_snapshot(), {"y"})["data"]] == ["b"]
    assert list_models(_snapshot(), set())["data"] == []


def test_one_model_by_any_of_its_names() -> None:
    assert find_model(_snapshot(), "c", None)["id"] == "c"
    assert find_model(_snapshot(), "b", {"x"})["owned_by"] == "x"
    with pytest.raises(PaddockError) as caught:
        find_model(_snapshot(), "x/b", {"y"})
    assert caught.value.code is Code.MODEL_NOT_FOUND
    with pytest.raises(PaddockError) as caught:
        find_model(_snapshot(), "b", None)
    assert caught.value.code is Code.AMBIGUOUS_MODEL


# --- metrics and logs


def _render(metrics: Metrics, **uses: Use) -> str:
    named = {ModelId("team", name): use for name, use in uses.items()}
    return metrics.render(Gauges(uses=named, snapshot=Snapshot(), watches=(), body_bytes=0, connections=0)).decode()


def test_models_that_are_gone_take_their_series_along() -> None:
    metrics = Metrics()
    for name in ("team/a", "team/b", UNKNOWN):
        metrics.request(name, "chat", 200, 0.1)
        metrics.first_content(name, 0.1)
        metrics.retried(name)
        metrics.refused(name, Verdict.LATER)
    assert 'model="team/a"' in _render(metrics, a=Use(waiting=1, answering=0, idle=0))
    metrics.forget([ModelId("team", "b")])
    text = _render(metrics)
    assert 'model="team/a"' not in text
    assert 'model="team/b"' in text
    assert 'model="unknown"' in text


def test_a_log_line_is_one_line_of_ascii_without_secrets() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.getLogger("test.gateway.logs")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        logger.warning("a\r\nb\x1b[31m\u2028\x7f Authorization: Bearer pk-0123456789", extra={
            "path": "/v1/models/\n{\"level\": \"fatal\"}", "data": {"key": ["Bearer abcdefgh"]}, "model": "x" * 10_000})
    finally:
        logger.removeHandler(handler)
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    record = json.loads(line)
    assert record["path"] == "/v1/models/\n{\"level\": \"fatal\"}"
    assert "0123456789" not in line
    assert "abcdefgh" not in line
    assert len(line) < 6000
