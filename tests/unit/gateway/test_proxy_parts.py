"""The pure parts of a request's way: verdicts, preambles, retry budget, counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.errors import PERMANENT, Code, PaddockError
from paddock_api.identity import ModelId
from paddock_gateway.fleet.choose import Load
from paddock_gateway.fleet.world import PodKey
from paddock_gateway.proxy.budget import RetryBudget
from paddock_gateway.proxy.preamble import MAX_PREAMBLE, Preamble
from paddock_gateway.proxy.traffic import Traffic
from paddock_gateway.proxy.verdict import Verdict, judge, read_error_event, read_refusal
from tests.unit.gateway.fleet_kit import POOL

# What no other pod can better. Everything here ends a request at once.
_FINAL = {
    Code.INVALID_REQUEST, Code.INVALID_SPEC, Code.UNSUPPORTED, Code.CONTEXT_LENGTH_EXCEEDED, Code.INVALID_GRAMMAR,
    Code.TEMPLATE_FAILED, Code.AMBIGUOUS_MODEL, Code.BODY_TOO_LARGE, Code.POISON_REQUEST, Code.NOT_FOUND,
    Code.METHOD_NOT_ALLOWED, Code.HOLD_EXPIRED, Code.DEADLINE, Code.CLIENT_STALLED, Code.ENGINE_HUNG, Code.INTERNAL,
    *(PERMANENT - {Code.NO_FIT}),
}
_NEXT = {Code.DRAINING, Code.INVALID_API_KEY, Code.FORBIDDEN}
_OTHERS = {Code.NO_FIT: Verdict.NO_FIT, Code.QUEUE_FULL: Verdict.BUSY, Code.ENGINE_CRASHED: Verdict.AGAIN,
           Code.POD_UNREACHABLE: Verdict.AGAIN}


@pytest.mark.parametrize("code", Code)
def test_every_code_has_its_verdict(code: Code) -> None:
    expected = (Verdict.FINAL if code in _FINAL else Verdict.NEXT if code in _NEXT
                else _OTHERS.get(code, Verdict.LATER))
    assert judge(PaddockError(code, "").status, code.value) is expected


def test_codes_of_a_newer_pod_go_by_their_status() -> None:
    assert [judge(status, "brand_new") for status in (400, 409, 429, 500, 502, 503, 504)] == [
        Verdict.FINAL, Verdict.FINAL, Verdict.BUSY, Verdict.FINAL, Verdict.AGAIN, Verdict.LATER, Verdict.FINAL]


def test_a_refusal_keeps_what_the_pod_said() -> None:
    body = json.dumps(PaddockError(Code.DISK_FULL, "no room", param="model", retry_after=7).body()).encode()
    refusal = read_refusal(503, body, retry_after=None, should_retry=True, pod="p")
    assert (refusal.verdict, refusal.status, refusal.code, refusal.message, refusal.param, refusal.retry_after) == (
        Verdict.LATER, 503, "disk_full", "no room", "model", 7)


@pytest.mark.parametrize(("status", "body"), [
    (401, json.dumps(PaddockError(Code.INVALID_API_KEY, "the pool token is wrong").body()).encode()),
    (500, b"Internal Server Error"), (503, b"<html>upstream http://10.0.0.1"), (502, b""), (200, b"[" * 50_000)])
def test_what_is_not_for_clients_is_not_shown(status: int, body: bytes) -> None:
    refusal = read_refusal(status, body, retry_after=None, should_retry=True, pod="p")
    assert (refusal.status, refusal.code) == (502, "pod_unreachable")
    assert "10.0.0.1" not in refusal.message
    assert "token" not in refusal.message


def test_an_error_event() -> None:
    event = json.dumps(PaddockError(Code.ENGINE_CRASHED, "dead").body()).encode()
    refusal = read_error_event(event, "p")
    assert refusal is not None
    assert (refusal.verdict, refusal.status) == (Verdict.AGAIN, 502)
    assert read_error_event(b'{"id": "chatcmpl-1", "choices": []}', "p") is None


@given(st.lists(st.sampled_from([b": loading 10%\n\n", b":\n\n", b"\n", b": x\r\n\r\n"]), max_size=5),
       st.lists(st.integers(1, 80), max_size=20))
def test_a_preamble_ends_with_the_first_event_however_it_is_cut(comments: list[bytes], cuts: list[int]) -> None:
    event = b'data: {"choices": 1}\n\ndata: {"choices": 2}\n\n'
    left, preamble = b"".join(comments) + event, Preamble()
    for cut in [*cuts, len(left)]:
        if not preamble.done:
            preamble.feed(left[:cut])
            left = left[cut:]
    assert preamble.done
    assert preamble.first == b'{"choices": 1}'
    assert preamble.rest + left == event, "not a byte of content is lost or repeated"


def test_progress_is_plain_text() -> None:
    preamble = Preamble()
    preamble.feed(b": loading 42%\n\n: \x1b[31m\xff" + b"x" * 500 + b"\n")
    assert preamble.progress.startswith("[31m")
    assert len(preamble.progress) == 80
    assert not preamble.done


def test_a_preamble_is_bounded() -> None:
    preamble = Preamble()
    preamble.feed(b"data: " + b"x" * MAX_PREAMBLE)
    assert preamble.done, "a first event of any size is handed on as it comes"


def test_retries_are_a_share_of_requests() -> None:
    budget = RetryBudget()
    assert sum(budget.take() for _ in range(100)) == 10
    granted = 0
    for _ in range(1000):
        budget.request()
        granted += budget.take()
    assert 190 <= granted <= 200


# --- counts

_A, _B = ModelId("team", "a"), ModelId("team", "b")
_POD = PodKey(POOL, "default-runtime-0")


def _traffic(**limits: int) -> Traffic:
    return Traffic(**{"queue_per_model": 2, "max_requests": 5, "body_memory": 100, **limits}, clock=lambda: 50.0)


def _refused(traffic: Traffic, model: ModelId = _A, *, places: int = 0, body: int = 0) -> str:
    with pytest.raises(PaddockError) as caught:
        traffic.enter(model, places=places, body=body)
    assert caught.value.code is Code.QUEUE_FULL
    assert caught.value.retry_after
    return caught.value.message


def test_the_queue_of_a_model_is_bounded_and_another_model_has_its_own() -> None:
    traffic = _traffic()
    first, _ = traffic.enter(_A, places=0, body=0), traffic.enter(_A, places=1, body=0)
    assert "2 requests already wait for team/a" in _refused(traffic)
    traffic.enter(_A, places=2, body=0)
    traffic.enter(_B, places=0, body=0)
    first.answered()
    assert "wait for team/a" in _refused(traffic, places=1)
    traffic.enter(_A, places=2, body=0)
    assert "through this gateway" in _refused(traffic, _B)


def test_bodies_are_bounded_until_the_answer_begins() -> None:
    traffic = _traffic()
    first = traffic.enter(_A, places=0, body=60)
    assert "MiB" in _refused(traffic, _B, body=41)
    first.answered()
    assert traffic.body_bytes == 0
    traffic.enter(_B, places=0, body=100).close()
    assert traffic.body_bytes == 0


def test_every_request_is_counted_once() -> None:
    traffic = _traffic()
    ticket = traffic.enter(_A, places=0, body=0)
    use = traffic.uses()[_A]
    assert (use.waiting, use.answering) == (1, 0)
    ticket.answered()
    ticket.answered()
    assert (traffic.uses()[_A].waiting, traffic.uses()[_A].answering) == (0, 1)
    ticket.close()
    ticket.close()
    ticket.answered()
    assert (traffic.uses()[_A].waiting, traffic.uses()[_A].answering, traffic.total) == (0, 0, 0)


def test_loads_are_by_pod_and_model() -> None:
    traffic = _traffic()
    first, second = traffic.enter(_A, places=0, body=0), traffic.enter(_B, places=0, body=0)
    first.at(_POD)
    second.at(_POD)
    keys = {"p": _POD, "q": PodKey(POOL, "q")}
    assert traffic.loads(_A, keys) == {"p": Load(1, 2)}
    second.at(None)
    assert traffic.loads(_A, keys) == {"p": Load(1, 1)}
    first.close()
    assert traffic.loads(_A, keys) == {}


def test_models_that_are_gone_are_forgotten_when_nothing_of_them_runs() -> None:
    traffic = _traffic()
    ticket = traffic.enter(_A, places=0, body=0)
    traffic.forget({})
    assert _A in traffic.uses()
    ticket.close()
    traffic.forget({})
    assert traffic.uses() == {}
