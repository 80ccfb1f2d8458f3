from __future__ import annotations

import pytest

from paddock_api import errors
from paddock_api.errors import PERMANENT, Code, PaddockError
from paddock_api.identity import ModelId

OPENAI_TYPES = {"invalid_request_error", "rate_limit_error", "server_error"}


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_a_status_and_a_body_that_clients_can_read(code: Code) -> None:
    assert code in errors._STATUS
    error = PaddockError(code, "what is wrong; what to do", param="model", retry_after=0.2)
    assert error.status in {400, 401, 403, 404, 405, 408, 409, 413, 429, 500, 502, 503, 504}
    body = error.body()["error"]
    assert body["type"] in OPENAI_TYPES
    assert (body["code"], body["param"], body["retry_after"]) == (code.value, "model", 0.2)
    assert (body["type"] == "rate_limit_error") == (error.status == 429)
    assert str(error) == error.message


@pytest.mark.parametrize("code", list(Code))
def test_headers_say_when_to_come_again_or_not_to(code: Code) -> None:
    headers = PaddockError(code, "m", retry_after=0.2).headers()
    assert headers == ({"x-should-retry": "false"} if code in PERMANENT else {"Retry-After": "1"})
    if code not in PERMANENT:
        assert PaddockError(code, "m", retry_after=2.1).headers() == {"Retry-After": "3"}
        assert PaddockError(code, "m").headers() == {}
        assert "retry_after" not in PaddockError(code, "m").body()["error"]


def test_faults_of_the_request_are_not_blamed_on_the_server() -> None:
    for code in (Code.INVALID_REQUEST, Code.AMBIGUOUS_MODEL, Code.CONTEXT_LENGTH_EXCEEDED, Code.MODEL_NOT_FOUND,
                 Code.INVALID_API_KEY, Code.FORBIDDEN, Code.NOT_FOUND, Code.METHOD_NOT_ALLOWED):
        assert PaddockError(code, "m").body()["error"]["type"] == "invalid_request_error"
    assert PaddockError(Code.ENGINE_CRASHED, "m").body()["error"]["type"] == "server_error"


@pytest.mark.parametrize(("code", "status"), [
    (Code.INVALID_API_KEY, 401), (Code.FORBIDDEN, 403), (Code.NOT_FOUND, 404), (Code.METHOD_NOT_ALLOWED, 405),
    (Code.POOL_UNAVAILABLE, 503), (Code.POD_UNREACHABLE, 502), (Code.QUEUE_FULL, 429), (Code.HOLD_EXPIRED, 503),
])
def test_statuses_that_gateways_promise(code: Code, status: int) -> None:
    assert PaddockError(code, "m").status == status


@pytest.mark.parametrize("text", ["", "a", "/a", "a/", "a/b/c", "//"])
def test_identity_needs_namespace_and_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not namespace/name"):
        ModelId.parse(text)
    assert ModelId.parse("a/b") == ModelId("a", "b")
    assert str(ModelId("a", "b")) == "a/b"
