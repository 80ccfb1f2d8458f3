"""Input 6: which addresses, URLs and redirects a source may name."""

from __future__ import annotations

import httpx
import pytest

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store.addresses import check_addresses, check_redirect, check_url, shown


@pytest.mark.parametrize("url", ["http://user@h/x", "https://user:pw@h/x", "ftp://h/x", "http:///x", "http://", "x",
                                 "http://h:99999/x", "http://[::1/x", "http://h\0/x", "http://h:0/x", "http://a..b/",
                                 f"http://{'x' * 64}.example/", "http://a%00b/",
                                 "http://[::1%25eth0]/"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(PaddockError) as caught:
        check_url(url)
    assert caught.value.code == Code.SOURCE_REFUSED
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(("start", "location", "target"), [
    ("https://a.example/x/y", "../z", "https://a.example/z"), ("http://a.example/x", "//b.example/y", "http://b.example/y"),
    ("http://a.example/x", "https://b.example:8443/y", "https://b.example:8443/y"),
    ("https://a.example/x", "/y?sig=1", "https://a.example/y?sig=1")])
def test_redirects_that_may_be_followed(start: str, location: str, target: str) -> None:
    assert str(check_redirect(httpx.URL(start), location)) == target


@pytest.mark.parametrize("location", ["http://a.example/x", "https://u:p@a.example/", "file:///etc/passwd", "https://[bad/"])
def test_redirects_that_may_not(location: str) -> None:
    with pytest.raises(PaddockError) as caught:
        check_redirect(httpx.URL("https://a.example/x"), location)
    assert caught.value.code == Code.SOURCE_REFUSED


def test_refusals_do_not_tell_which_private_address_a_name_has() -> None:
    with pytest.raises(PaddockError) as caught:
        check_addresses(httpx.URL("http://intranet.example/x?sig=CANARY"), ["10.20.30.40"], frozenset())
    assert "10.20" not in caught.value.message
    assert "CANARY" not in caught.value.message


def test_whom_the_allow_list_names_may_be_private() -> None:
    check_addresses(httpx.URL("http://FILES.lan:81/x"), ["10.20.30.40"], frozenset({"files.lan:81"}))
    with pytest.raises(PaddockError):
        check_addresses(httpx.URL("http://files.lan/x"), ["10.20.30.40"], frozenset({"files.lan:81"}))


def test_what_is_shown_of_a_url() -> None:
    assert shown(httpx.URL("https://u:p@h.example:8443/a/b?sig=1#f")) == "https://h.example:8443/a/b"
    assert shown(httpx.URL("http://[::1]:80/a")) == "http://[::1]/a"
