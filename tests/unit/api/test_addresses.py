"""Input 6: which hosts and addresses a source may name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock_api.addresses import is_allowed, is_host, is_public


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


@pytest.mark.parametrize("host", [b"", b"a..b", b"x" * 64, b"a b", b"a%00b", b"h\0", b"[::1]", b"::1%eth0", b"a/b"])
def test_what_is_no_host(host: bytes) -> None:
    assert not is_host(host)


@pytest.mark.parametrize("host", [b"a.lan", b"a.lan.", b"xn--bcher-kva.example", b"10.0.0.1", b"::1", b"my_host"])
def test_what_is_a_host(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize(("host", "port", "allowed", "expected"), [
    ("files.lan", 80, "files.lan", True), ("FILES.lan", 81, "files.lan", True), ("files.lan", 80, "files.lan:80", True),
    ("files.lan", 443, "files.lan:80", False), ("evil-files.lan", 80, "files.lan", False),
    ("files.lan.evil", 80, "files.lan", False), ("::1", 81, "[::1]:81", True), ("::1", 81, "::1", True),
    ("127.0.0.1", 81, "127.0.0.1:82", False)])
def test_the_allow_list_is_exact(host: str, port: int, allowed: str, expected: bool) -> None:
    assert is_allowed(host, port, {allowed}) is expected
