"""What an answer to a range request brings. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from paddock_operator.hub.connect import Got
from paddock_operator.hub.errors import Unavailable
from paddock_operator.hub.urls import shown

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,16})-(\d{1,16})|\*)/(\d{1,16}|\*)", re.ASCII)


@dataclass(frozen=True)
class Piece:
    """Bytes of a file; none: it ends before. `total`: its size in bytes, if the server told. `url`: who gave them."""

    data: bytes
    total: int | None
    url: httpx.URL


def piece(got: Got, start: int, end: int) -> Piece:
    """The bytes from `start` up to `end`, from an answer 200, 206 or 416. Raises Unavailable."""
    if got.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Unavailable(f"{shown(got.url)} is sent compressed although that was declined: serve it without "
                          "Content-Encoding", retry_after=300.0)
    match = _CONTENT_RANGE.fullmatch(got.headers.get("content-range", "").strip())
    if got.status == 200:
        return Piece(got.body[start:end], _length(got.headers), got.url)
    total = None if match is None or match[3] == "*" else int(match[3])
    if got.status == 416 and total is not None and total <= start:
        return Piece(b"", total, got.url)
    if got.status != 206 or match is None or match[1] is None or int(match[1]) != start:
        raise Unavailable(f"{shown(got.url)} answered with a range that was not asked for")
    return Piece(got.body[: end - start], total, got.url)


def _length(headers: httpx.Headers) -> int | None:
    length = headers.get("content-length", "")
    return int(length) if "transfer-encoding" not in headers and re.fullmatch(r"\d{1,16}", length, re.ASCII) else None
