"""Input 6: which addresses, URLs and redirects a source may name."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store.addresses import check_addresses, check_redirect, check_url, is_allowed, is_public, shown


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
    "fe80::1%eth0", "2606:4700::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::",
    "2002:a00:1::1", "2001:0:5ef5:79fb:0:59c:f5ff:fffe", "100::1", "not an address", ""])
def test_no_way_into_private_networks(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1",
                                     "64:ff9b::101:101", "2002:101:101::1"])
def test_public_addresses_pass_also_wrapped(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_never_makes_it_public(address: object) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))


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


@pytest.mark.parametrize(("url", "allowed", "expected"), [
    ("http://files.lan/x", "files.lan", True), ("http://FILES.lan:81/x", "files.lan", True),
    ("http://files.lan/x", "files.lan:80", True), ("https://files.lan/x", "files.lan:443", True),
    ("https://files.lan/x", "files.lan:80", False), ("http://evil-files.lan/x", "files.lan", False),
    ("http://files.lan.evil/x", "files.lan", False), ("http://[::1]:81/x", "[::1]:81", True),
    ("http://127.0.0.1:81/x", "127.0.0.1:82", False)])
def test_the_allow_list_is_exact(url: str, allowed: str, expected: bool) -> None:
    assert is_allowed(httpx.URL(url), frozenset({allowed})) is expected


def test_refusals_do_not_tell_which_private_address_a_name_has() -> None:
    with pytest.raises(PaddockError) as caught:
        check_addresses(httpx.URL("http://intranet.example/x?sig=CANARY"), ["10.20.30.40"], frozenset())
    assert "10.20" not in caught.value.message
    assert "CANARY" not in caught.value.message


def test_what_is_shown_of_a_url() -> None:
    assert shown(httpx.URL("https://u:p@h.example:8443/a/b?sig=1#f")) == "https://h.example:8443/a/b"
    assert shown(httpx.URL("http://[::1]:80/a")) == "http://[::1]/a"
