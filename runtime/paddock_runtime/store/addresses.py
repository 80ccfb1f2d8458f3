"""Which URLs and addresses a source may name. Pure rules; everything here is decided before a connection is made."""

from __future__ import annotations

import httpx

from paddock_api.addresses import is_allowed, is_host, is_public
from paddock_api.errors import Code, PaddockError


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
    if not is_host(url.raw_host) or not 0 < port_of(url) < 65536:
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


def check_addresses(url: httpx.URL, addresses: list[str], allow_hosts: frozenset[str]) -> None:
    """Every address of the host must be public, unless the host is allowed. Raises PaddockError SOURCE_REFUSED."""
    if is_allowed(url.host, port_of(url), allow_hosts):
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
