"""What a hub's answers mean: refusals by kind, quotas, ranges."""

from __future__ import annotations

import httpx
import pytest

from paddock_api.errors import Code
from paddock_operator.hub.answers import Subject, refusal
from paddock_operator.hub.connect import Got
from paddock_operator.hub.documents import read_pointer, read_repo
from paddock_operator.hub.errors import (
    BadToken,
    Disabled,
    EntryNotFound,
    Gated,
    HubError,
    RateLimited,
    RepoNotFound,
    RepoRenamed,
    RevisionNotFound,
    Unavailable,
)
from paddock_operator.hub.limits import pause, retry_after
from paddock_operator.hub.ranges import Piece, piece

NOW = 1_800_000_000.0
ANONYMOUS = Subject(endpoint=httpx.URL("https://hub.example"), repo="org/m", revision="dev", file="a.gguf")
KNOWN = Subject(endpoint=httpx.URL("https://hub.example/"), repo="org/m", revision="dev", token=True)


def headers(**fields: str) -> httpx.Headers:
    return httpx.Headers({name.replace("_", "-"): value for name, value in fields.items()})


@pytest.mark.parametrize(("subject", "status", "fields", "kind", "says"), [
    (ANONYMOUS, 401, {"x_error_code": "GatedRepo"}, Gated, "access at https://hub.example/org/m and name a cred"),
    (KNOWN, 403, {"x_error_code": "GatedRepo"}, Gated, "with the account of the credential's token"),
    (ANONYMOUS, 401, {}, RepoNotFound, "or it is private: then name a credential"),
    (ANONYMOUS, 401, {"x_error_code": "RepoNotFound"}, RepoNotFound, "has no repository org/m"),
    (KNOWN, 404, {"x_error_code": "RepoNotFound"}, RepoNotFound, "the account of the credential's token can't see it"),
    (KNOWN, 401, {"x_error_message": "Invalid credentials in Authorization header"}, BadToken, "put a valid one"),
    (KNOWN, 401, {}, BadToken, "does not accept the token"),
    (KNOWN, 403, {}, HubError, "check what the token of the credential may read"),
    (ANONYMOUS, 404, {"x_error_code": "RevisionNotFound"}, RevisionNotFound, "no revision 'dev': name a branch, a tag"),
    (ANONYMOUS, 404, {"x_error_code": "EntryNotFound"}, EntryNotFound, "no file 'a.gguf' at dev"),
    (ANONYMOUS, 404, {}, RepoNotFound, "check its spelling"),
    (ANONYMOUS, 403, {"x_error_message": "Access to this resource is disabled."}, Disabled, "name another repository"),
    (ANONYMOUS, 500, {}, Unavailable, "has trouble (HTTP 500)"),
    (ANONYMOUS, 400, {}, HubError, "is it a hub that speaks"),
    (ANONYMOUS, 307, {"location": "/api/models/new/n/revision/dev?blobs=true"}, RepoRenamed, "is called new/n now"),
    (ANONYMOUS, 307, {"location": "https://hub.example/new/n/resolve/dev/a"}, RepoRenamed, "is called new/n now"),
    (ANONYMOUS, 307, {"location": "https://other.example/api/models/new/n"}, HubError, "correct the hub's endpoint"),
    (ANONYMOUS, 301, {"location": "https://hub.example/api/models/org/m/"}, HubError, "correct the hub's endpoint"),
    (ANONYMOUS, 302, {"location": "https://h:port/"}, Unavailable, "not a URL"),
    (ANONYMOUS, 302, {}, HubError, "correct the hub's endpoint"),
])
def test_refusals(subject: Subject, status: int, fields: dict[str, str], kind: type[HubError], says: str) -> None:
    error = refusal(subject, status, headers(**fields), NOW)
    assert type(error) is kind
    assert says in error.message
    assert "hub.example//" not in error.message


def test_which_refusals_may_pass() -> None:
    def retry(status: int, **fields: str) -> tuple[Code, float | None]:
        error = refusal(ANONYMOUS, status, headers(**fields), NOW)
        return error.code, error.retry_after

    assert retry(429) == (Code.SOURCE_UNAVAILABLE, 60.0)
    assert retry(429, ratelimit='"api";r=0;t=55', retry_after="7") == (Code.SOURCE_UNAVAILABLE, 56.0)
    assert retry(503, retry_after="7") == (Code.SOURCE_UNAVAILABLE, 7.0)
    assert retry(500) == (Code.SOURCE_UNAVAILABLE, 30.0)
    assert retry(401, x_error_code="GatedRepo") == (Code.SOURCE_REFUSED, 900.0)  # access may be granted
    assert retry(404, x_error_code="RepoNotFound") == (Code.SOURCE_NOT_FOUND, 900.0)
    assert retry(307, location="/api/models/new/n") == (Code.SOURCE_NOT_FOUND, None)
    assert isinstance(refusal(ANONYMOUS, 429, headers(), NOW), RateLimited)
    renamed = refusal(ANONYMOUS, 307, headers(location="/api/models/new/n"), NOW)
    assert isinstance(renamed, RepoRenamed)
    assert renamed.new_name == "new/n"


@pytest.mark.parametrize(("status", "fields", "expected"), [
    (200, {}, None),
    (200, {"ratelimit": '"api";r=1;t=55'}, None),
    (200, {"ratelimit": '"api";r=0;t=55'}, 56.0),
    (200, {"ratelimit": '"api"; r = 0 ; t = 9'}, 10.0),
    (200, {"retry-after": "9"}, None),
    (503, {"retry-after": "9"}, None),
    (429, {"retry-after": "9"}, 10.0),
    (429, {"ratelimit": '"api";r=3;t=5', "retry-after": "9"}, 10.0),
    (429, {"ratelimit": '"api";r=0;t=5', "retry-after": "9"}, 6.0),
    (429, {"ratelimit": '"api";r=0;t=99999999999999'}, 60.0),
    (429, {"ratelimit": '"api";r=0;t=999999999'}, 3600.0),
    (429, {"retry-after": "99999999"}, 3600.0),
    (429, {"retry-after": "-1"}, 60.0),
    (429, {"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 31.0),
    (429, {"retry-after": "Fri, 99 Jan"}, 60.0),
])
def test_pauses(status: int, fields: dict[str, str], expected: float | None) -> None:
    assert pause(status, httpx.Headers(fields), NOW) == expected


def test_a_date_that_is_over_asks_for_nothing() -> None:
    assert retry_after(headers(retry_after="Thu, 01 Jan 1970 00:00:00 GMT"), NOW) == 0.0


BODY = bytes(range(100))


def got(status: int, body: bytes = BODY, **fields: str) -> Got:
    return Got(status, headers(**fields), body, True, httpx.URL("http://h/f?sig=CANARY"))


def test_pieces() -> None:
    def brought(answer: Got, start: int, end: int) -> tuple[bytes, int | None]:
        found = piece(answer, start, end)
        return found.data, found.total

    assert brought(got(206, BODY[10:20], content_range="bytes 10-19/100"), 10, 20) == (BODY[10:20], 100)
    assert brought(got(206, BODY[10:], content_range="bytes 10-99/*"), 10, 20) == (BODY[10:20], None)
    assert brought(got(200, content_length="100"), 10, 20) == (BODY[10:20], 100)
    assert brought(got(200, transfer_encoding="chunked"), 10, 20) == (BODY[10:20], None)
    assert brought(got(200, BODY[:5], content_length="5"), 10, 20) == (b"", 5)
    assert brought(got(416, b"", content_range="bytes */10"), 10, 20) == (b"", 10)
    assert piece(got(200), 0, 1) == Piece(BODY[:1], None, httpx.URL("http://h/f?sig=CANARY"))


@pytest.mark.parametrize("answer", [
    got(206, content_range="bytes 11-20/100"), got(206), got(206, content_range="bytes x-y/z"),
    got(416, b"", content_range="bytes */100"), got(416, b""),
    got(206, content_range="bytes 10-19/100", content_encoding="gzip")])
def test_pieces_that_were_not_asked_for(answer: Got) -> None:
    with pytest.raises(Unavailable) as caught:
        piece(answer, 10, 20)
    assert "CANARY" not in caught.value.message


@pytest.mark.parametrize("body", [
    b"", b"[]", b"null", b"{}", b'{"sha": 1}', b'{"sha": "main"}', b'{"sha": "../../x"}', b"\xff", b"[" * 100_000,
    b'{"sha": "' + b"a" * 40 + b'", "siblings": [{"rfilename": "x", "size": -1}]}',
    b'{"sha": "' + b"a" * 40 + b'", "siblings": [{"rfilename": "x", "lfs": {"sha256": "x", "size": 1}}]}',
    b'{"sha": "' + b"a" * 40 + b'", "siblings": {"rfilename": "x"}}'])
def test_documents_that_no_hub_sends(body: bytes) -> None:
    assert read_repo(body) is None


def test_documents() -> None:
    sha = "0123456789" * 4
    assert read_pointer(f'{{"_id": 1, "id": "org/m", "sha": "{sha}"}}'.encode()) is not None
    info = read_repo(f'{{"sha": "{sha}", "gated": "manual", "siblings": [{{"rfilename": "a", "blobId": "1", "size": 2, '
                     f'"lfs": {{"sha256": "{"b" * 64}", "size": 5, "pointerSize": 9}}}}]}}'.encode())
    assert info is not None
    assert info.siblings[0].lfs is not None
    assert (info.siblings[0].size, info.siblings[0].lfs.size) == (2, 5)
