"""Which URLs may be asked, and what messages show of them. Pure."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple
from urllib.parse import quote

import httpx

from paddock_api.addresses import is_allowed, is_host, is_public
from paddock_api.errors import Code, PaddockError


class Origin(NamedTuple):
    """`host` in lower case, without brackets."""

    scheme: str
    host: str
    port: int


def origin_of(url: httpx.URL) -> Origin:
    usual = 443 if url.scheme == "https" else 80
    return Origin(url.scheme, url.host.lower(), usual if url.port is None else url.port)


def check_url(text: str, param: str) -> httpx.URL:
    """A URL that may be asked. Raises PaddockError SOURCE_REFUSED; `param` is the field that named it."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise PaddockError(Code.SOURCE_REFUSED, f"{param} is not a URL: give http:// or https://, a host and a path",
                           param=param) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise _refused(url, "can't be asked: only http and https URLs that name a host can", param)
    if not is_host(url.raw_host) or not 0 < origin_of(url).port < 65536:
        raise _refused(url, "names a host or port that can't exist", param)
    if url.userinfo:
        raise _refused(url, "carries a user name or password: remove it", param)
    return url


def check_redirect(current: httpx.URL, location: str, param: str) -> httpx.URL:
    """Where a redirect leads, when it may be followed. Raises PaddockError SOURCE_REFUSED."""
    try:
        joined = current.join(location)
    except (httpx.InvalidURL, ValueError):
        raise _refused(current, "redirects to what is not a URL", param) from None
    target = check_url(str(joined), param)
    if current.scheme == "https" and target.scheme == "http":
        raise _refused(current, f"redirects from https to http ({shown(target)}): name a URL that stays on https",
                       param)
    return target


def check_addresses(url: httpx.URL, addresses: list[str], allow_hosts: Set[str], param: str) -> None:
    """Every address of the host must be public, unless the host is allowed. Raises PaddockError SOURCE_REFUSED."""
    if not all(is_public(address) for address in addresses) and not vouched(url, allow_hosts):
        # The addresses stay out of the message: it may reach people who should not map this network.
        raise _refused(url, f"can't be asked: the host {url.host} is not on the public Internet; whoever runs the "
                       "operator can allow it by name (PADDOCK_ALLOWED_HOSTS)", param)


def vouched(url: httpx.URL, allow_hosts: Set[str]) -> bool:
    """Whether whoever runs the operator allowed this host, wherever it is."""
    return is_allowed(url.host, origin_of(url).port, allow_hosts)


def shown(url: httpx.URL) -> str:
    """The URL as messages may show it: no credentials, no query (it may hold a signature), no fragment."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.scheme}://{host}{port}{quote(url.path, safe='/')}"


def _refused(url: httpx.URL, what: str, param: str) -> PaddockError:
    return PaddockError(Code.SOURCE_REFUSED, f"{shown(url)} {what}", param=param)
