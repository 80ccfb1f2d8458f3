"""What an HTTP server's answer to a (range) request means for a download. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from paddock_api.errors import Code, PaddockError

MAX_FILE_BYTES = 2 << 40
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# What Hugging Face says beside a status; what a server invents is not repeated.
_HUB_REASONS = {
    "GatedRepo": ", a gated repository: its owner must have granted access to the account of the token",
    "RepoNotFound": ", no such repository, or not for this account",
    "RevisionNotFound": ", no such commit in the repository",
    "EntryNotFound": ", no such file in the commit",
}
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,16})-(\d{1,16})|\*)/(\d{1,16}|\*)", re.ASCII)


class Passing(Exception):
    """A fault that may pass: try again, not before `retry_after` seconds.

    `restart`: what was fetched is of no use. `ranges`: whether asking for ranges makes sense with this server.
    """

    def __init__(
        self, reason: str, *, retry_after: float | None = None, restart: bool = False, ranges: bool = True
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.restart = restart
        self.ranges = ranges


@dataclass(frozen=True)
class Body:
    """The bytes that follow begin at `start` of a file of `total` bytes (None: not said)."""

    start: int
    total: int | None


@dataclass(frozen=True)
class Asked:
    """`where`: the URL as messages show it; `offset`: the bytes we have; `total`: the size the last answer named;
    `refused`: what helps when the server wants to know who asks."""

    where: str
    offset: int
    total: int | None
    refused: str = "it needs credentials"


def judge(asked: Asked, status: int, headers: Mapping[str, str], *, size: int | None, now: float | None = None) -> Body:
    """Raises Passing, or PaddockError for what no retry mends. `size` is what the file must have, if that is known."""
    if status == 416 and asked.offset:
        return _past_the_end(asked, headers)
    if status not in (200, 206):
        raise _refusal(asked, status, headers, time.time() if now is None else now)
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise PaddockError(Code.SOURCE_UNAVAILABLE, f"{asked.where} is sent compressed although that was declined: "
                           "such bytes can be neither resumed nor checked; serve it without Content-Encoding")
    body = _whole(headers) if status == 200 else _range(asked, headers)
    _check_total(asked, body, size)
    return body


def _whole(headers: Mapping[str, str]) -> Body:
    length = headers.get("content-length", "")
    chunked = "transfer-encoding" in headers
    return Body(0, int(length) if not chunked and re.fullmatch(r"\d{1,16}", length, re.ASCII) else None)


def _range(asked: Asked, headers: Mapping[str, str]) -> Body:
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None or match[1] is None or int(match[1]) != asked.offset or int(match[2]) < int(match[1]):
        raise Passing("the server answered with a range that was not asked for", restart=True, ranges=False)
    return Body(asked.offset, None if match[3] == "*" else int(match[3]))


def _past_the_end(asked: Asked, headers: Mapping[str, str]) -> Body:
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is not None and match[3] == str(asked.offset):
        return Body(asked.offset, asked.offset)  # we have it all already
    raise Passing("the file on the server is now shorter than what was fetched", restart=True)


def _check_total(asked: Asked, body: Body, size: int | None) -> None:
    if body.total is None:
        return
    if size is not None and body.total != size:
        raise PaddockError(Code.SIZE_MISMATCH, f"{asked.where} has {body.total} bytes, but {size} are expected: "
                           "it is another file than the one that was resolved")
    if body.total > MAX_FILE_BYTES:
        raise PaddockError(Code.SOURCE_REFUSED, f"{asked.where} claims {body.total} bytes; "
                           f"the limit is {MAX_FILE_BYTES}")
    if body.start and asked.total is not None and body.total != asked.total:
        raise Passing("the file on the server changed its size", restart=True)


def _refusal(asked: Asked, status: int, headers: Mapping[str, str], now: float) -> Exception:
    reason = _HUB_REASONS.get(headers.get("x-error-code", ""), "")
    if status in (404, 410):
        return PaddockError(Code.SOURCE_NOT_FOUND, f"{asked.where} does not exist (HTTP {status}{reason}): correct it",
                            param="source.http.url")
    if status in _PASSING:
        return Passing(f"the server answered HTTP {status}", retry_after=retry_after(headers, now))
    hint = asked.refused if status in (401, 403) else "check the URL"
    return PaddockError(Code.SOURCE_UNAVAILABLE, f"{asked.where} answered HTTP {status}{reason}: {hint}",
                        param="source.http.url")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the server wants to be left alone: `RateLimit: …;r=0;t=N` before `Retry-After` (seconds or a date)."""
    limit = headers.get("ratelimit", "")
    if re.search(r";\s*r=0(?!\d)", limit) and (match := re.search(r";\s*t=(\d{1,9})(?!\d)", limit, re.ASCII)):
        return float(match[1])
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", value, re.ASCII):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def validator(headers: Mapping[str, str]) -> str | None:
    """What `If-Range` may carry for this file: a strong ETag, else the date of its last change."""
    etag = headers.get("etag", "")
    if re.fullmatch(r'"[\x21\x23-\x7e]{0,512}"', etag):
        return etag
    modified = headers.get("last-modified", "")
    return modified if re.fullmatch(r"[\w ,:+-]{1,64}", modified, re.ASCII) else None
