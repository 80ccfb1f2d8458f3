"""What a streamed answer says before its content: signs of life, then the first event. Pure."""

from __future__ import annotations

MAX_PREAMBLE = 64 << 10
_MAX_PROGRESS = 80


class Preamble:
    """Fed with bytes until `done`. Then `first` is the first event's line and `rest` all bytes from its begin on.

    `progress` is the last comment: text of a pod, cut to what a log or a client can bear."""

    def __init__(self) -> None:
        self.done = False
        self.progress = ""
        self.rest = b""

    def feed(self, data: bytes) -> None:
        self.rest += data
        start = 0
        while (end := self.rest.find(b"\n", start)) >= 0:
            line = self.rest[start:end].rstrip(b"\r")
            if line and not line.startswith(b":"):
                break
            if line:
                self.progress = _plain(line[1:])
            start = end + 1
        self.rest = self.rest[start:]
        self.done = end >= 0 or len(self.rest) > MAX_PREAMBLE

    @property
    def first(self) -> bytes:
        """The data of the first event, as far as it is one line."""
        return self.rest.partition(b"\n")[0].rstrip(b"\r").removeprefix(b"data:").strip()


def _plain(text: bytes) -> str:
    return "".join(sign for sign in text.decode("ascii", "replace").strip() if sign.isprintable())[:_MAX_PROGRESS]
