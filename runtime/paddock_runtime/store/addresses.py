"""Which URLs and addresses a source may name. Pure rules; everything here is decided before a connection is made."""

from __future__ import annotations

import ipaddress
import re

import httpx

from paddock_api.errors import Code, PaddockError

# A name (after IDNA) or an address; nothing that a resolver might read in its own way.
_HOST = re.compile(rb"[0-9A-Za-z_-]{1,63}(\.[0-9A-Za-z_-]{1,63})*\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSED_V6 = [ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "fec0::/10", "::/96")]


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


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


def check_url(text: str) -> httpx.URL:
    """A URL that may be fetched. Raises PaddockError SOURCE_REFUSED."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise PaddockError(Code.SOURCE_REFUSED, f"source.http.url is not a URL: {error}",
                           param="source.http.url") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise PaddockError(Code.SOURCE_REFUSED, f"{shown(url)} can't be fetched: only http and https URLs that name a "
                           "host can", param="source.http.url")
    if _HOST.fullmatch(url.raw_host) is None or not 0 < port_of(url) < 65536:
        raise PaddockError(Code.SOURCE_REFUSED, f"{shown(url)} names a host or port that can't exist",
                           param="source.http.url")
    if url.userinfo:
        raise PaddockError(Code.SOURCE_REFUSED, f"the URL for {shown(url)} carries a user name or password: remove it",
                           param="source.http.url")
    return url


def check_redirect(current: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads, when it may be followed. Raises PaddockError SOURCE_REFUSED."""
    try:
        joined = current.join(location)
    except (httpx.InvalidURL, ValueError):
        raise PaddockError(Code.SOURCE_REFUSED, f"{shown(current)} redirects to what is not a URL") from None
    target = check_url(str(joined))
    if current.scheme == "https" and target.scheme == "http":
        raise PaddockError(Code.SOURCE_REFUSED, f"{shown(current)} redirects from https to http ({shown(target)}): "
                           "use an https URL that stays on https", param="source.http.url")
    return target


def port_of(url: httpx.URL) -> int:
    return url.port if url.port is not None else 443 if url.scheme == "https" else 80


def is_allowed(url: httpx.URL, allow_hosts: frozenset[str]) -> bool:
    """Whether the operator of this machine vouches for the host, as `host` or `host:port`."""
    host = url.host.lower()
    bracketed = f"[{host}]" if ":" in host else host
    return not allow_hosts.isdisjoint({host, f"{bracketed}:{port_of(url)}"})


def check_addresses(url: httpx.URL, addresses: list[str], allow_hosts: frozenset[str]) -> None:
    """Every address of the host must be public, unless the host is allowed. Raises PaddockError SOURCE_REFUSED."""
    if is_allowed(url, allow_hosts):
        return
    if not all(is_public(address) for address in addresses):
        # The addresses stay out of the message: it may reach people who should not map this network.
        raise PaddockError(
            Code.SOURCE_REFUSED,
            f"{shown(url)}: the host {url.host} is not on the public Internet; "
            "whoever runs this server can allow it by name", param="source.http.url")


def shown(url: httpx.URL) -> str:
    """The URL as messages may show it: no credentials, no query (it may hold a signature), no fragment."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.scheme}://{host}{port}{url.path}"
