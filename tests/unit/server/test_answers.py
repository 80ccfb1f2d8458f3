"""Answers to the byte: OpenAI's shapes, the hold contract, disconnects."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.state import Phase
from paddock_runtime.engine.protocol import Delta, PositionLogprobs, TokenLogprob, Usage
from paddock_runtime.jobs import GenerateWork, Text, Vectors, Waiting
from paddock_runtime.server.connection import Stalled
from tests.unit.server.driver import CHAT, STREAM, WAIT, begin, call, make_app
from tests.unit.server.scripted import ScriptedService, Step, accepted, last, served, text

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 2}}
COMPLETION = {"model": "gemma", "prompt": "Hi"}


async def test_chat_whole() -> None:
    answer = await call(make_app(ScriptedService()), "POST", "/v1/chat/completions", CHAT)
    body = answer.json()
    assert answer.status == 200
    assert body.pop("id").startswith("chatcmpl-")
    assert body.pop("created") > 1_700_000_000
    assert body == {
        "object": "chat.completion", "model": "gemma", "system_fingerprint": "rev-1", "usage": USAGE,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": None},
                     "logprobs": None, "finish_reason": "stop"}],
    }


async def test_chat_stream_role_first_then_text_then_reason_then_usage() -> None:
    body = {**STREAM, "stream_options": {"include_usage": True}}
    answer = await call(make_app(ScriptedService()), "POST", "/v1/chat/completions", body)
    events = answer.events()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events.pop() == "[DONE]"
    usage = events.pop()
    assert (usage["choices"], usage["usage"]) == ([], USAGE)
    assert [event["choices"][0] for event in events] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {"content": "Hel"}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {"content": "lo"}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"},
    ]
    assert {event["usage"] for event in events} == {None}
    common = {(event["id"], event["object"], event["model"], event["system_fingerprint"]) for event in events}
    assert common == {(usage["id"], "chat.completion.chunk", "gemma", "rev-1")}


async def test_without_include_usage_no_chunk_has_a_usage() -> None:
    events = (await call(make_app(ScriptedService()), "POST", "/v1/chat/completions", STREAM)).events()
    assert all("usage" not in event for event in events[:-1])
    assert events[-2]["choices"][0]["finish_reason"] == "stop"


async def test_completions_whole_and_streamed() -> None:
    app = make_app(ScriptedService())
    whole = (await call(app, "POST", "/v1/completions", COMPLETION)).json()
    assert whole["id"].startswith("cmpl-")
    assert whole["choices"] == [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}]
    events = (await call(app, "POST", "/v1/completions", {**COMPLETION, "stream": True})).events()
    assert [event["choices"][0]["text"] for event in events[:-1]] == ["Hel", "lo", ""]
    assert {event["object"] for event in events[:-1]} == {"text_completion"}


async def test_choices_interleave_and_the_prompt_counts_once() -> None:
    script = (accepted(0), accepted(1), text("a", 0), text("b", 1), last("A", 0, cached=0), last("B", 1, cached=5))
    app = make_app(ScriptedService(*script))
    whole = (await call(app, "POST", "/v1/chat/completions", {**CHAT, "n": 2})).json()
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["aA", "bB"]
    assert whole["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11,
                              "prompt_tokens_details": {"cached_tokens": 0}}
    events = (await call(app, "POST", "/v1/chat/completions", {**STREAM, "n": 2})).events()[:-1]
    order = [(event["choices"][0]["index"], event["choices"][0]["delta"].get("content")) for event in events]
    assert order == [(0, ""), (0, "a"), (1, ""), (1, "b"), (0, "A"), (0, None), (1, "B"), (1, None)]


def _with_logprobs() -> tuple[Any, ...]:
    position = PositionLogprobs(chosen=TokenLogprob(text="é", data="é".encode(), logprob=-0.5),
                                top=[TokenLogprob(text="é", data="é".encode(), logprob=-0.5),
                                     TokenLogprob(text="e", data=b"e", logprob=float("-inf"))])
    usage = Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=2)
    return (accepted(), Text(choice=0, delta=Delta(id=1, text="é", tokens=1, logprobs=[position])),
            Text(choice=0, delta=Delta(id=1, text="é", tokens=1, logprobs=[position], finish="length", usage=usage)))


async def test_logprobs_of_chat() -> None:
    app = make_app(ScriptedService(*_with_logprobs()))
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [
        {"token": "é", "logprob": -0.5, "bytes": [195, 169]}, {"token": "e", "logprob": -9999.0, "bytes": [101]}]}
    whole = (await call(app, "POST", "/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2})).json()
    assert whole["choices"][0]["logprobs"] == {"content": [token, token], "refusal": None}
    assert whole["choices"][0]["finish_reason"] == "length"
    events = (await call(app, "POST", "/v1/chat/completions", {**STREAM, "logprobs": True})).events()
    assert [event["choices"][0]["logprobs"] for event in events[1:3]] == [{"content": [token], "refusal": None}] * 2


async def test_logprobs_of_completions_count_characters() -> None:
    app = make_app(ScriptedService(*_with_logprobs()))
    whole = (await call(app, "POST", "/v1/completions", {**COMPLETION, "logprobs": 2})).json()
    assert whole["choices"][0]["logprobs"] == {
        "tokens": ["é", "é"], "token_logprobs": [-0.5, -0.5], "text_offset": [0, 1],
        "top_logprobs": [{"é": -0.5, "e": -9999.0}] * 2}
    events = (await call(app, "POST", "/v1/completions", {**COMPLETION, "logprobs": 2, "stream": True})).events()
    assert [event["choices"][0]["logprobs"]["text_offset"] for event in events[:-1]] == [[0], [1]]


@pytest.mark.parametrize("form", ["float", "base64"])
async def test_embeddings(form: str) -> None:
    vectors = [struct.pack("<2f", 0.1, -2.0), struct.pack("<2f", 3.5, 0.0)]
    model = served(memory_class="encoder")
    app = make_app(ScriptedService(Vectors(served=model, vectors=vectors, dimensions=2, tokens=7)))
    body = (await call(app, "POST", "/v1/embeddings",
                       {"model": "gemma", "input": ["a", "b"], "encoding_format": form})).json()
    assert (body["object"], body["model"], body["usage"]) == ("list", "gemma", {"prompt_tokens": 7, "total_tokens": 7})
    got = [item["embedding"] for item in body["data"]]
    if form == "base64":
        assert [base64.b64decode(item) for item in got] == vectors
    else:
        assert [struct.pack("<2f", *item) for item in got] == vectors
    assert [(item["object"], item["index"]) for item in body["data"]] == [("embedding", 0), ("embedding", 1)]


async def test_deltas_that_are_ready_together_leave_in_one_send() -> None:
    script: tuple[Step, ...] = (
        accepted(), *(text(f"{i} ") for i in range(20)), 0.05, *(text(f"{i} ") for i in range(20)), last())
    answer = await call(make_app(ScriptedService(*script)), "POST", "/v1/chat/completions", STREAM)
    assert len(answer.events()) == 1 + 40 + 1 + 1
    assert len([data for data in answer.sends if data]) == 2


# --- the hold contract ---------------------------------------------------------------------------

LOADING: tuple[Step, ...] = (Waiting(phase=Phase.LOADING, progress=0.42), 0.2)
GONE = PaddockError(Code.HOLD_EXPIRED, "No room came free.", retry_after=7.2)


async def test_a_stream_that_waits_gets_headers_and_progress_as_comments() -> None:
    service = ScriptedService(*LOADING, accepted(), text("a"), last())
    answer = await call(make_app(service, headers_after=0.01, heartbeat=0.02), "POST", "/v1/chat/completions", STREAM)
    assert len(answer.comments()) >= 2
    assert ": loading 42%" in answer.comments()
    assert answer.body.startswith(b": ")
    assert answer.events()[-1] == "[DONE]"


async def test_a_stream_that_fails_early_is_a_plain_error() -> None:
    service = ScriptedService(Waiting(phase=Phase.LOADING), GONE)
    answer = await call(make_app(service), "POST", "/v1/chat/completions", STREAM)
    assert (answer.status, answer.headers["retry-after"]) == (503, "8")
    error = answer.json()["error"]
    assert (error["code"], error["type"], error["retry_after"]) == ("hold_expired", "server_error", 7.2)


@pytest.mark.parametrize("script", [(*LOADING, GONE), (accepted(), text("a"), 0.05, GONE)], ids=["held", "begun"])
async def test_after_the_headers_an_error_is_an_event_and_nothing_is_done(script: tuple[Any, ...]) -> None:
    service = ScriptedService(*script)
    answer = await call(make_app(service, headers_after=0.01), "POST", "/v1/chat/completions", STREAM)
    assert (answer.status, answer.complete) == (200, True)
    error = answer.events()[-1]["error"]
    assert (error["code"], error["retry_after"]) == ("hold_expired", 7.2)
    assert "[DONE]" not in answer.events()
    assert service.streams[0].closed.is_set()


async def test_text_that_was_ready_with_an_error_comes_before_it() -> None:
    answer = await call(make_app(ScriptedService(accepted(), text("a"), GONE)), "POST", "/v1/chat/completions", STREAM)
    events = answer.events()
    assert events[1]["choices"][0]["delta"]["content"] == "a"
    assert events[2]["error"]["code"] == "hold_expired"
    assert len(events) == 3


async def test_without_stream_the_answer_waits() -> None:
    answer = await call(make_app(ScriptedService(*LOADING, accepted(), last("a")), headers_after=0.01), "POST",
                        "/v1/chat/completions", CHAT)
    assert (answer.status, answer.json()["choices"][0]["message"]["content"]) == (200, "a")


async def test_no_fit_tells_the_openai_client_not_to_try_again() -> None:
    service = ScriptedService(PaddockError(Code.NO_FIT, "It needs 9 GiB, the budget is 4 GiB."))
    answer = await call(make_app(service), "POST", "/v1/chat/completions", CHAT)
    assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("script", [(60.0,), (accepted(), 60.0), (accepted(), text("a"), 60.0)],
                         ids=["waiting", "prefill", "generating"])
async def test_a_client_that_leaves_frees_its_place(body: dict[str, Any], script: tuple[Any, ...]) -> None:
    service = ScriptedService(*script)
    exchange, task = begin(make_app(service), "POST", "/v1/chat/completions", body)
    async with asyncio.timeout(WAIT):
        await service.submitted.wait()
        await service.streams[0].idle.wait()
        exchange.left.set()
        await task
        await service.streams[0].closed.wait()
    assert not exchange.complete


async def test_a_reader_that_blocks_the_send_holds_back_the_stream() -> None:
    service = ScriptedService(accepted(), *(text("x" * 1000) for _ in range(1000)), last())
    app = make_app(service)
    exchange, task = begin(app, "POST", "/v1/chat/completions", STREAM)
    gate = asyncio.Event()
    plain = exchange.send

    async def slow(message: Any) -> None:
        await plain(message)
        await gate.wait()

    exchange.send = slow  # type: ignore[method-assign]
    await asyncio.sleep(0.3)
    held = service.streams[0].taken
    assert 1 < held < 20
    gate.set()
    async with asyncio.timeout(WAIT):
        await task
    assert exchange.events()[-1] == "[DONE]"


class Stalling:
    """A connection whose reader takes nothing any more."""

    aborted = False

    async def writable(self, stall: float) -> None:
        raise Stalled

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/events"])
@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
async def test_a_stalled_reader_is_cut_and_is_no_bug(path: str, body: dict[str, Any],
                                                     caplog: pytest.LogCaptureFixture) -> None:
    service = ScriptedService(accepted(), text("a"), 60.0) if body is STREAM else ScriptedService()
    method = "GET" if path == "/events" else "POST"
    exchange, task = begin(make_app(service), method, path, body)
    connection = Stalling()
    exchange.scope["extensions"] = {"paddock.connection": connection}
    with caplog.at_level("INFO"):
        async with asyncio.timeout(WAIT):
            await task
    assert connection.aborted
    assert not exchange.complete
    assert [(record.__dict__["status"], record.__dict__["code"]) for record in caplog.records] == [
        (499, "client_stalled")]
    assert all(stream.closed.is_set() for stream in service.streams)


async def test_the_lifecycle_s_word_that_a_reader_stalled_cuts_it_too() -> None:
    stalled = PaddockError(Code.CLIENT_STALLED, "It read nothing for 30 s.")
    exchange, task = begin(make_app(ScriptedService(accepted(), text("a"), 0.05, stalled)), "POST",
                           "/v1/chat/completions", STREAM)
    exchange.scope["extensions"] = {"paddock.connection": (connection := Open())}
    async with asyncio.timeout(WAIT):
        await task
    assert connection.aborted
    assert "error" not in exchange.body.decode()


class Open(Stalling):
    async def writable(self, stall: float) -> None:
        return None


async def test_the_work_is_prepared_from_the_revision_that_serves() -> None:
    service = ScriptedService(served=served(defaults={"temperature": 0.25}))
    await call(make_app(service), "POST", "/v1/chat/completions", CHAT)
    work = service.works[0]
    assert isinstance(work, GenerateWork)
    assert (work.prompt, work.sampling.temperature) == ("rendered", 0.25)


async def test_a_job_has_deadlines_and_a_fingerprint_of_its_content() -> None:
    service = ScriptedService()
    app = make_app(service, hold=10.0, deadline=20.0)
    await call(app, "POST", "/v1/chat/completions", CHAT, {"x-request-id": "mine-1"})
    await call(app, "POST", "/v1/chat/completions", {**STREAM, "user": "u", "model": "default/gemma"})
    await call(app, "POST", "/v1/chat/completions", {**CHAT, "temperature": 0})
    first, same, other = service.jobs
    assert first.request_id == "mine-1"
    assert 9.0 < first.deadline - first.hold_until < 11.0
    assert first.fingerprint == same.fingerprint != other.fingerprint
