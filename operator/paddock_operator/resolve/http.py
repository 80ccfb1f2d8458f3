"""`source.http`: the digest is given; the size and the header's facts come by range."""

from __future__ import annotations

import time
from collections.abc import Set

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_api.gguf import GgufHeader
from paddock_api.revision import Resolution
from paddock_api.source import HttpSource
from paddock_operator.hub.call import Caller
from paddock_operator.hub.connect import Ask, Got
from paddock_operator.hub.errors import LOOK_AGAIN_SECONDS, RateLimited, Unavailable
from paddock_operator.hub.kept import Kept
from paddock_operator.hub.limits import pause, retry_after
from paddock_operator.hub.ranges import Piece, piece
from paddock_operator.hub.urls import check_url, shown
from paddock_operator.resolve.header import HeaderReader, Opened, invalid
from paddock_operator.resolve.hugging_face import weight_of_header
from paddock_operator.resolve.resolved import Pin, Resolved, facts_of

URL = "source.http.url"
_KEPT_BYTES = 32 << 20
_PASSING = frozenset({408, 425, 500, 502, 503, 504})
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "paddock"}


class Http:
    """`allow_hosts`: hosts (`host` or `host:port`) that may be private. No request carries credentials."""

    def __init__(self, caller: Caller, headers: HeaderReader, *, allow_hosts: Set[str]) -> None:
        self._caller = caller
        self._reader = headers
        self._allow_hosts = allow_hosts
        self._opened: Kept[Opened] = Kept(most_bytes=_KEPT_BYTES, weigh=lambda opened: weight_of_header(opened.header))

    async def resolve(self, source: HttpSource, *, pinned: Pin | None) -> Resolved:
        """Raises PaddockError."""
        url = check_url(source.url, URL)
        header, size = pinned.header if pinned else None, pinned.resolution.size if pinned else None
        if header is None:
            opened = await self._opened.get((source.url, source.sha256), lambda: self._open(url))
            header, size = opened.header, opened.size
        resolution = Resolution(sha256=source.sha256, size=size, files=[source.url])
        return Resolved(resolution=resolution, facts=facts_of(resolution, _name(url), header), header=header)

    async def _open(self, url: httpx.URL) -> Opened:
        async def read(start: int, end: int) -> Piece:
            got = await self._caller.call(Ask(
                url=url, limit=end, allow_hosts=self._allow_hosts, param=URL,
                headers={**_HEADERS, "Range": f"bytes={start}-{end - 1}"}))
            if got.status not in (200, 206, 416):
                raise _refusal(url, got)
            return piece(got, start, end)

        opened = await self._reader.read(read, name=shown(url), size=None, param=URL)
        _check_whole(opened.header, url)
        return opened


def _check_whole(header: GgufHeader, url: httpx.URL) -> None:
    if header.facts.split_count > 1:
        raise invalid(shown(url), f"it is one of {header.facts.split_count} shards, and an http source names one file; "
                      "merge them with llama-gguf-split --merge, or use source.huggingFace", URL)


def _refusal(url: httpx.URL, got: Got) -> PaddockError:
    where, now = shown(url), time.time()
    if got.status == 429:
        wait = pause(got.status, got.headers, now) or 60.0
        return RateLimited(f"{where} has limited the requests from here; it is asked again in {wait:.0f} s",
                           retry_after=wait, param=URL)
    if got.status in _PASSING:
        return Unavailable(f"{where} has trouble (HTTP {got.status}); it is asked again",
                           retry_after=retry_after(got.headers, now) or 30.0, param=URL)
    if got.status in (404, 410):
        return PaddockError(Code.SOURCE_NOT_FOUND, f"{where} does not exist (HTTP {got.status}): correct the URL",
                            param=URL, retry_after=LOOK_AGAIN_SECONDS)
    hint = "it needs credentials, and http sources carry none" if got.status in (401, 403) else "check the URL"
    return PaddockError(Code.SOURCE_REFUSED, f"{where} answered HTTP {got.status}: {hint}", param=URL,
                        retry_after=LOOK_AGAIN_SECONDS)


def _name(url: httpx.URL) -> str:
    """The last part of the path, as people know the file; the host when there is none."""
    return "".join(letter if letter.isprintable() else "?" for letter in url.path.rpartition("/")[2]) or url.host
