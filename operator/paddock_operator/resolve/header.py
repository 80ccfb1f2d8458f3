"""A GGUF header over range requests: the first 256 KiB, then as much again and again, up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from paddock_api.errors import Code, PaddockError
from paddock_api.gguf import GgufError, GgufHeader, NeedMoreBytes, combine, parse_header
from paddock_operator.hub.errors import Unavailable
from paddock_operator.hub.ranges import Piece

FIRST_BYTES = 256 << 10
LONGEST_BYTES = 32 << 20
_MOST_PIECES = 12  # what doubling needs, and some for a server that gives less than asked for

# (start, end) → the bytes between, or fewer where the file ends
Read = Callable[[int, int], Awaitable[Piece]]


@dataclass(frozen=True)
class Opened:
    """`size` in bytes, if the server told it."""

    header: GgufHeader
    size: int | None


class HeaderReader:
    """Reads at most `at_once` files together, which bounds the memory: that many times LONGEST_BYTES.
    `deadline`: seconds that one file may take."""

    def __init__(self, *, at_once: int = 3, deadline: float = 120.0, first_bytes: int = FIRST_BYTES,
                 longest_bytes: int = LONGEST_BYTES) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._deadline = deadline
        self._first = first_bytes
        self._longest = longest_bytes

    async def read(self, read: Read, *, name: str, size: int | None, param: str) -> Opened:
        """The header of one file. `size`: its bytes, when they are known; `name` and `param` are for messages.

        Raises PaddockError INVALID_MODEL_FILE, SOURCE_UNAVAILABLE, and what `read` raises."""
        async with self._turns:
            try:
                async with asyncio.timeout(self._deadline):
                    return await self._read(read, name, size, param)
            except TimeoutError:
                raise Unavailable(f"the header of {name} did not arrive within {self._deadline:.0f} s") from None

    async def _read(self, read: Read, name: str, size: int | None, param: str) -> Opened:
        data = bytearray()
        end = self._first
        for _ in range(_MOST_PIECES):
            piece = await read(len(data), end)
            if size is not None and piece.total not in (None, size):
                raise Unavailable(f"{name} has {piece.total} bytes where it is fetched, but {size} were announced")
            size = piece.total if size is None else size
            data += piece.data
            try:
                # Beside the event loop: a header made for it keeps the parser busy for a second.
                return Opened(await asyncio.to_thread(parse_header, data, file_size=size), size)
            except GgufError as error:
                raise invalid(name, error, param) from None
            except NeedMoreBytes as need:
                if not piece.data:
                    raise Unavailable(f"{name} ends after {len(data)} bytes, inside its header") from None
                if need.at_least > self._longest:
                    raise invalid(name, f"its header is longer than {self._longest >> 20} MiB", param) from None
                end = min(max(2 * len(data), need.at_least), self._longest)
        raise Unavailable(f"{name}: the server gives its header in too small pieces")


def joined(headers: Sequence[GgufHeader], *, name: str, param: str) -> GgufHeader:
    """One header for all shards, in order. Raises PaddockError INVALID_MODEL_FILE."""
    try:
        return combine(headers)
    except GgufError as error:
        raise invalid(name, error, param) from None


def invalid(name: str, reason: GgufError | str, param: str) -> PaddockError:
    return PaddockError(Code.INVALID_MODEL_FILE, f"{name} can't be used: {reason}", param=param)
