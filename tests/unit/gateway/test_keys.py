"""API keys: records, look-up, and what is refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_gateway.access.keys import ANONYMOUS, Grant, KeyRing, Keys, RecordError, read_record, read_records

KEY = b"pk-0123456789abcdef0123456789abcdef"


def record(key: bytes = KEY, **fields: Any) -> bytes:
    return json.dumps({"sha256": hashlib.sha256(key).hexdigest(), "namespaces": ["team"], **fields}).encode()


def _ring(*, open_: bool = False, **entries: bytes) -> KeyRing:
    return KeyRing(read_records(entries), open_=open_)


def _code(ring: KeyRing, *authorization: bytes) -> Code:
    with pytest.raises(PaddockError) as caught:
        ring.admit(list(authorization))
    return caught.value.code


def test_a_key_grants_what_its_record_says() -> None:
    ring = _ring(alice=record(), root=record(b"other-key", namespaces=["*"], tenant="ops"))
    assert ring.admit([b"Bearer " + KEY]) == Grant(name="alice", namespaces=frozenset({"team"}), tenant="alice")
    assert ring.admit([b"bearer other-key"]) == Grant(name="root", namespaces=None, tenant="ops")


@pytest.mark.parametrize("given", [
    [], [b""], [b"Bearer"], [b"Bearer "], [b"Basic " + KEY], [KEY], [b"Bearer " + KEY + b"x"], [b"Bearer " + KEY[:-1]],
    [b"Bearer " + b"x" * 10_000], [b"Bearer " + hashlib.sha256(KEY).hexdigest().encode()],
    [b"Bearer " + KEY, b"Bearer " + KEY], [b"Bearer \xff\xfe"],
])
def test_everything_else_is_refused(given: list[bytes]) -> None:
    assert _code(_ring(alice=record()), *given) is Code.INVALID_API_KEY


def test_a_key_for_no_namespace_is_forbidden() -> None:
    assert _code(_ring(alice=record(namespaces=[])), b"Bearer " + KEY) is Code.FORBIDDEN


def test_open_only_where_there_is_no_key() -> None:
    assert _ring(open_=True).admit([]) == ANONYMOUS
    assert _ring(open_=True).admit([b"Bearer whatever"]) == ANONYMOUS
    assert _code(_ring()) is Code.INVALID_API_KEY
    assert _code(_ring(open_=True, alice=record())) is Code.INVALID_API_KEY


@pytest.mark.parametrize(("content", "words"), [
    (b"", "not JSON"), (b"secret-in-clear", "not JSON"), (b"[]", "Expected `object`"),
    (b"{}", "missing required field `sha256`"), (record(sha256="short"), "sha256: give the 64 hex"),
    (record(namespaces="team"), "Expected `array`"), (record(namespaces=["Team_A"]), "'Team_A' is no namespace"),
    (record(tenant="a b"), "tenant: 'a b'"), (record(tenant="a\r\nx: y"), "tenant:"),
    (b'{"x": ' + b"[" * 100_000, "not JSON"),
])
def test_a_bad_record_says_what_is_wrong(content: bytes, words: str) -> None:
    with pytest.raises(RecordError) as caught:
        read_record("alice", content)
    assert words in str(caught.value)
    assert "secret-in-clear" not in str(caught.value)


def test_a_bad_record_costs_only_itself_and_still_closes_the_door() -> None:
    keys = read_records({"alice": b"oops", "bob": record()})
    assert set(keys.problems) == {"alice"}
    assert keys.configured
    assert KeyRing(keys, open_=False).admit([b"Bearer " + KEY]).name == "bob"
    assert read_records({"alice": b"oops"}).configured
    assert not Keys({}, {}).configured
