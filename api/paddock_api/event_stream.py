"""Server-sent events out of the bytes of a stream. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MAX_EVENT = 64 << 20


class Message(NamedTuple):
    event: str
    data: str


class TooLarge(ValueError):
    """One event is larger than any honest one."""


class Decoder:
    """Feed it what comes; it gives back the events that are complete. Comments (heartbeats) give nothing."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._searched = 0
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Raises TooLarge."""
        self._rest += chunk
        begin = 0
        while (end := self._rest.find(b"\n", max(begin, self._searched))) >= 0:
            line = bytes(self._rest[begin:end]).removesuffix(b"\r")
            begin = self._searched = end + 1
            message = self._line(line)
            if message is not None:
                yield message
        del self._rest[:begin]
        self._searched = len(self._rest)
        if self._size + len(self._rest) > self._limit:
            raise TooLarge(f"an event has more than {self._limit} bytes")

    def _line(self, line: bytes) -> Message | None:
        if not line:
            message = Message(self._event or "message", "\n".join(self._data)) if self._data else None
            self._event, self._data, self._size = "", [], 0
            return message
        field, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
            self._size += len(line)
            if self._size > self._limit:
                raise TooLarge(f"an event has more than {self._limit} bytes")
        return None
