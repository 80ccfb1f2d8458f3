"""Input 6: which URLs and redirects the operator asks; which token goes where."""

from __future__ import annotations

import httpx
import pytest

from paddock_api.errors import Code, PaddockError
from paddock_operator.hub.client import file_url
from paddock_operator.hub.credentials import Access, Credential, token_of
from paddock_operator.hub.urls import Origin, check_addresses, check_redirect, check_url, origin_of, shown

PARAM = "source.http.url"


@pytest.mark.parametrize("url", [
    "http://user@h/x", "https://user:CANARY@h/x", "ftp://h/x", "http:///x", "x", "http://h:99999/x", "http://[::1/x",
    "http://h\0/x", "http://h:0/x", "http://a..b/", "http://a%00b/", "http://[::1%25eth0]/", f"http://{'x' * 64}.a/"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(PaddockError) as caught:
        check_url(url, PARAM)
    assert (caught.value.code, caught.value.param) == (Code.SOURCE_REFUSED, PARAM)
    assert "CANARY" not in caught.value.message


@pytest.mark.parametrize(("location", "target"), [
    ("../z", "https://a.example/z"), ("//b.example/y", "https://b.example/y"), ("/y?sig=1", "https://a.example/y?sig=1")])
def test_redirects_that_are_followed(location: str, target: str) -> None:
    assert str(check_redirect(httpx.URL("https://a.example/x/y"), location, PARAM)) == target


@pytest.mark.parametrize("location", ["http://a.example/x", "https://u:p@a.example/", "file:///etc/passwd", "https://[bad/"])
def test_redirects_that_are_not(location: str) -> None:
    with pytest.raises(PaddockError) as caught:
        check_redirect(httpx.URL("https://a.example/x"), location, PARAM)
    assert caught.value.code == Code.SOURCE_REFUSED


def test_one_private_address_is_one_too_many() -> None:
    url = httpx.URL("http://intranet.example/x?sig=CANARY")
    with pytest.raises(PaddockError) as caught:
        check_addresses(url, ["1.1.1.1", "10.20.30.40"], frozenset(), PARAM)
    assert caught.value.code == Code.SOURCE_REFUSED
    assert "10.20" not in caught.value.message
    assert "CANARY" not in caught.value.message
    check_addresses(url, ["1.1.1.1"], frozenset(), PARAM)
    check_addresses(url, ["10.20.30.40"], frozenset({"intranet.example:80"}), PARAM)


def test_what_is_shown_of_a_url() -> None:
    assert shown(httpx.URL("https://u:p@h.example:8443/a/b?sig=1#f")) == "https://h.example:8443/a/b"
    assert shown(httpx.URL("http://[::1]:80/a")) == "http://[::1]/a"
    assert shown(httpx.URL("http://h/a%1b%0a")).isprintable()


@pytest.mark.parametrize(("endpoint", "expected"), [
    ("https://hub.example", "https://hub.example/org/m/resolve/abc/a%20b/m-%C3%BC%23%3F.gguf"),
    ("https://hub.example/", "https://hub.example/org/m/resolve/abc/a%20b/m-%C3%BC%23%3F.gguf"),
    ("http://mirror:8080/hf/", "http://mirror:8080/hf/org/m/resolve/abc/a%20b/m-%C3%BC%23%3F.gguf")])
def test_where_a_file_is_fetched_from(endpoint: str, expected: str) -> None:
    assert file_url(httpx.URL(endpoint), "org/m", "abc", "a b/m-ü#?.gguf") == expected


@pytest.mark.parametrize(("url", "goes"), [
    ("https://hub.example/a", True), ("https://hub.example:443/a", True), ("https://HUB.example/a", True),
    ("http://hub.example/a", False), ("https://hub.example:8443/a", False), ("https://cdn.hub.example/a", False),
    ("https://hub.example.evil/a", False)])
def test_a_token_goes_to_its_endpoint_only(url: str, goes: bool) -> None:
    access = Access(httpx.URL("https://hub.example/prefix"), "CANARY")
    assert access.headers_for(httpx.URL(url)) == ({"Authorization": "Bearer CANARY"} if goes else {})


def test_no_representation_shows_a_token() -> None:
    assert "CANARY" not in repr(Credential("CANARY"))
    assert "CANARY" not in repr(Access(httpx.URL("https://h/"), "CANARY"))
    assert Access(httpx.URL("https://h/"), "a").fingerprint != Access(httpx.URL("https://h/"), "b").fingerprint
    assert Access(httpx.URL("https://h/")).fingerprint == ""


def test_tokens_as_secrets_hold_them() -> None:
    assert token_of("c", Credential(" hf_x\n")) == "hf_x"


@pytest.mark.parametrize("token", ["", "\n", "CANARY x", "CANARY\r\nX-Evil: 1", "CANARY\0", "CANÄRY", "x" * 5000])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(PaddockError) as caught:
        token_of("mine", Credential(token))
    assert caught.value.code == Code.SOURCE_REFUSED
    assert "'mine'" in caught.value.message
    assert "CAN" not in caught.value.message


def test_origins() -> None:
    assert origin_of(httpx.URL("https://H.example/x")) == Origin("https", "h.example", 443)
    assert origin_of(httpx.URL("http://[::1]:8080/x")) == Origin("http", "::1", 8080)
