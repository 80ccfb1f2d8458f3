"""How the double answers one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """The default serves the file properly, ranges and `If-Range` included. Offsets count bytes of a body.

    `status`: answer this instead of the file. `headers`: added to the answer's, or replacing them. `silent`: read the
    request and say nothing. `cut`: close the connection after so many bytes; `hang`: say nothing more after so many.
    `flip`: one wrong byte at this offset of the file. `ranges`: honour `Range`. `shift`: lie by so much about where a
    range starts.
    `framing`: how the body's end is told (`close`: not at all, as in HTTP/1.0). `extra`: bytes beyond the file's end.
    `rate`: bytes a second. `drip`: seconds between single bytes. `delay`: seconds before anything is answered.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    silent: bool = False
    cut: int | None = None
    hang: int | None = None
    flip: int | None = None
    ranges: bool = True
    shift: int = 0
    framing: Literal["length", "chunked", "close"] = "length"
    extra: int = 0
    rate: int | None = None
    drip: float | None = None
    delay: float = 0.0

    @staticmethod
    def redirect(location: str, status: int = 302) -> Behaviour:
        return Behaviour(status=status, headers={"Location": location})


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def answer(data: bytes | None, etag: str, wanted: Mapping[str, str], behaviour: Behaviour) -> Answer:
    """The answer to a GET with the headers `wanted` (lower case) for a file of this content (None: no such file)."""
    if behaviour.status is not None or data is None:
        status = behaviour.status or 404
        headers = {"Content-Length": str(len(behaviour.body)), **behaviour.headers}
        return Answer(status, headers, behaviour.body)
    if behaviour.flip is not None:
        data = data[: behaviour.flip] + bytes([data[behaviour.flip] ^ 0xFF]) + data[behaviour.flip + 1 :]
    status, headers, body = _file(data, etag, wanted, behaviour)
    body += b"x" * behaviour.extra
    if behaviour.framing == "length":
        headers["Content-Length"] = str(len(body) - behaviour.extra)
    elif behaviour.framing == "chunked":
        headers["Transfer-Encoding"] = "chunked"
    return Answer(status, {**headers, **behaviour.headers}, body)


def _file(
    data: bytes, etag: str, wanted: Mapping[str, str], behaviour: Behaviour
) -> tuple[int, dict[str, str], bytes]:
    found = span(len(data), etag, wanted, behaviour)
    return found.status, found.headers, data[found.start : found.end]


@dataclass(frozen=True)
class Span:
    """Which bytes of a file an answer carries, from `start` up to `end`."""

    status: int
    headers: dict[str, str]
    start: int
    end: int


def span(size: int, etag: str, wanted: Mapping[str, str], behaviour: Behaviour) -> Span:
    """What a GET or HEAD with the headers `wanted` (lower case) gets of a file of `size` bytes."""
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    asked = wanted.get("range", "")
    if not behaviour.ranges or not asked.startswith("bytes=") or wanted.get("if-range", etag) != etag:
        return Span(200, headers, 0, size)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last) if last else size - 1, size - 1)
    if start >= size:
        return Span(416, {**headers, "Content-Range": f"bytes */{size}"}, 0, 0)
    shift = behaviour.shift
    said = f"bytes {start + shift}-{end + shift}/{size}"
    return Span(206, {**headers, "Content-Range": said}, start, end + 1)
