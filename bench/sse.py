"""An HTTP/1.1 response that carries server-sent events, parsed from bytes as they come, as cheaply as will do. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

_MAX_HEAD = 64 * 1024


class ProtocolError(Exception):
    """The server's bytes are not HTTP/1.1 with a body in chunks, of a known length, or until the connection closes."""


class _Framing(Enum):
    CHUNKED = auto()
    LENGTH = auto()
    CLOSE = auto()


@dataclass(slots=True)
class ResponseParser:
    """Feed it bytes; it returns the `data:` of each event. `body` keeps what is no event stream."""

    status: int = 0
    done: bool = False
    body: bytearray = field(default_factory=bytearray)
    _raw: bytearray = field(default_factory=bytearray)
    _text: bytearray = field(default_factory=bytearray)
    _framing: _Framing | None = None
    _left: int = 0
    _events: bool = False

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes. Raises ProtocolError."""
        self._raw += data
        if self._framing is None and not self._take_head():
            return []
        self._take_body()
        if not self._events:
            self.body += self._text
            self._text.clear()
            return []
        return self._take_events()

    def eof(self) -> None:
        """The server closed the connection. Raises ProtocolError when the response was not complete."""
        if self._framing is _Framing.CLOSE:
            self.done = True
        if not self.done:
            raise ProtocolError("the connection closed in the middle of the response")

    def _take_head(self) -> bool:
        end = self._raw.find(b"\r\n\r\n")
        if end < 0:
            if len(self._raw) > _MAX_HEAD:
                raise ProtocolError("no end of the headers")
            return False
        first, *lines = bytes(self._raw[:end]).split(b"\r\n")
        del self._raw[: end + 4]
        parts = first.split(b" ", 2)
        if not first.startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
            raise ProtocolError(f"not an HTTP response: {first[:80]!r}")
        self.status = int(parts[1])
        headers = dict(_header(line) for line in lines)
        self._events = headers.get(b"content-type", b"").startswith(b"text/event-stream")
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            self._framing = _Framing.CHUNKED
        elif b"content-length" in headers:
            self._framing, self._left = _Framing.LENGTH, int(headers[b"content-length"])
        else:
            self._framing = _Framing.CLOSE
        return True

    def _take_body(self) -> None:
        if self._framing is _Framing.CHUNKED:
            self._take_chunks()
            return
        take = len(self._raw) if self._framing is _Framing.CLOSE else min(self._left, len(self._raw))
        self._text += self._raw[:take]
        del self._raw[:take]
        if self._framing is _Framing.LENGTH:
            self._left -= take
            self.done = self._left == 0

    def _take_chunks(self) -> None:
        while not self.done:
            end = self._raw.find(b"\r\n")
            if end < 0:
                return
            try:
                size = int(self._raw[:end].split(b";")[0], 16)
            except ValueError:
                raise ProtocolError(f"not the size of a chunk: {bytes(self._raw[:end][:40])!r}") from None
            after = end + 2 + size + 2
            if len(self._raw) < after:
                return
            self._text += self._raw[end + 2 : end + 2 + size]
            del self._raw[:after]
            self.done = size == 0

    def _take_events(self) -> list[bytes]:
        events = []
        while (end := self._text.find(b"\n\n")) >= 0 or (end := self._text.find(b"\r\n\r\n")) >= 0:
            block = bytes(self._text[:end])
            del self._text[: end + (2 if self._text[end : end + 2] == b"\n\n" else 4)]
            lines = [line.removeprefix(b"data:").strip() for line in block.splitlines() if line.startswith(b"data:")]
            if lines:
                events.append(b"\n".join(lines))
        return events


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip().lower()
