"""Which hosts and addresses a URL from a stranger may name. Everything here is decided before a connection is made."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Set

# A name (after IDNA) or an address; nothing that a resolver might read in its own way.
_HOST = re.compile(rb"[0-9A-Za-z_-]{1,63}(\.[0-9A-Za-z_-]{1,63})*\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSED_V6 = [ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "fec0::/10", "::/96")]


def is_host(raw: bytes) -> bool:
    """Whether a URL's host (as it goes on the wire, brackets removed) is a name or an address."""
    return _HOST.fullmatch(raw) is not None


def is_public(text: str) -> bool:
    """Whether an address is one of the global Internet, also when it wraps an IPv4 address."""
    try:
        address = ipaddress.ip_address(text)  # an IPv6 scope ("%eth0") is kept in it
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None or any(address in network for network in _REFUSED_V6):
            return False
        wrapped = _wrapped(address)
        if wrapped is not None:
            return is_public(str(wrapped))
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_allowed(host: str, port: int, allow_hosts: Set[str]) -> bool:
    """Whether `allow_hosts` (lower case, each `host` or `host:port`) vouches for a host."""
    host = host.lower()
    bracketed = f"[{host}]" if ":" in host else host
    return host in allow_hosts or f"{bracketed}:{port}" in allow_hosts


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
