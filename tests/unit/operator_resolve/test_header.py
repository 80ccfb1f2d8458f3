"""A header by growing ranges: what is asked for, and that a hostile one costs bounded bytes, memory and time."""

from __future__ import annotations

import asyncio
import struct
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from paddock_api.errors import Code, PaddockError
from paddock_api.gguf import parse_header
from paddock_operator.hub.errors import Unavailable
from paddock_operator.hub.ranges import Piece
from paddock_operator.resolve.header import FIRST_BYTES, LONGEST_BYTES, HeaderReader, Opened
from tests.unit.api import gguf_files

URL = httpx.URL("http://h/f.gguf")
PARAM = "source.http.url"


class Server:
    """Hands out ranges of a file, and counts."""

    def __init__(self, data: bytes, *, total: int | None = -1, most: int = 1 << 62) -> None:
        self.data = data
        self.total = len(data) if total == -1 else total
        self.most = most
        self.asked: list[tuple[int, int]] = []

    async def read(self, start: int, end: int) -> Piece:
        self.asked.append((start, end))
        return Piece(self.data[start : min(end, start + self.most)], self.total, URL)

    @property
    def bytes(self) -> int:
        return sum(min(end, start + self.most, len(self.data)) - start for start, end in self.asked)


async def opened(server: Server, *, size: int | None = None, first: int = FIRST_BYTES) -> Opened:
    return await HeaderReader(first_bytes=first).read(server.read, name="f.gguf", size=size, param=PARAM)


async def refused(server: Server, *, size: int | None = None, first: int = FIRST_BYTES) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        await opened(server, size=size, first=first)
    return caught.value


def with_text(length: int) -> bytes:
    return gguf_files.header(pairs=(gguf_files.ARCHITECTURE, gguf_files.pair("x", 8, gguf_files.text("t" * length))))


async def test_a_small_header_is_one_request(tmp_path: Path) -> None:
    data = gguf_files.write_tiny(tmp_path / "tiny.gguf")
    server = Server(data)
    found = await opened(server)
    assert server.asked == [(0, FIRST_BYTES)]
    assert found.size == len(data)
    assert found.header == parse_header(data, file_size=len(data))


async def test_longer_headers_double_and_nothing_is_fetched_twice() -> None:
    data = with_text(5000) + bytes(1_000_000)
    server = Server(data)
    await opened(server, first=1000)
    assert server.asked[0] == (0, 1000)
    assert [start for start, _ in server.asked[1:]] == [end for _, end in server.asked[:-1]]
    assert server.bytes <= 2 * 5200


async def test_a_server_that_gives_less_than_asked_is_asked_on(tmp_path: Path) -> None:
    data = gguf_files.write_tiny(tmp_path / "tiny.gguf")
    server = Server(data, most=700)
    assert (await opened(server)).size == len(data)
    assert [start for start, _ in server.asked] == list(range(0, 700 * len(server.asked), 700))
    error = await refused(Server(data, most=10))
    assert (error.code, "too small pieces" in error.message) == (Code.SOURCE_UNAVAILABLE, True)


async def test_an_unknown_size_stays_unknown(tmp_path: Path) -> None:
    data = gguf_files.write_tiny(tmp_path / "tiny.gguf")
    assert (await opened(Server(data, total=None))).size is None
    assert (await opened(Server(data, total=None), size=len(data))).size == len(data)


async def test_another_size_than_announced_is_another_file(tmp_path: Path) -> None:
    data = gguf_files.write_tiny(tmp_path / "tiny.gguf")
    error = await refused(Server(data), size=len(data) + 1)
    assert isinstance(error, Unavailable)
    assert f"has {len(data)} bytes where it is fetched, but {len(data) + 1} were announced" in error.message


async def test_a_truncated_file_is_said_to_be_so(tmp_path: Path) -> None:
    data = gguf_files.write_tiny(tmp_path / "tiny.gguf")
    assert "truncated" in (await refused(Server(data[:-1]))).message
    assert "truncated" in (await refused(Server(data[:200]))).message
    assert "ends after 200 bytes, inside its header" in (await refused(Server(data[:200], total=None))).message


async def test_what_is_no_gguf_costs_one_request() -> None:
    server = Server(b"<html>" + bytes(10_000_000))
    error = await refused(server)
    assert (error.code, error.param) == (Code.INVALID_MODEL_FILE, PARAM)
    assert "f.gguf can't be used: not a GGUF file" in error.message
    assert len(server.asked) == 1


async def test_a_header_beyond_the_bound_is_not_fetched() -> None:
    claims = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + gguf_files.text("x") + struct.pack("<IIQ", 9, 12, 4 << 20)
    server = Server(claims + bytes(64 << 20), total=None)
    error = await refused(server, size=None)
    assert error.code == Code.INVALID_MODEL_FILE
    assert "longer than 32 MiB" in error.message
    assert server.bytes <= FIRST_BYTES


class _Endless(Server):
    """A header that goes on and on: keys with texts, each a little longer than what is there."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.total = None
        pairs = b"".join(gguf_files.pair(f"k{number}", 8, gguf_files.text("x" * 4096)) for number in range(10_000))
        self.data = b"GGUF" + struct.pack("<IQQ", 3, 0, 10_000) + pairs


async def test_a_header_that_goes_on_for_ever_ends_at_the_bound() -> None:
    server = _Endless()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        error = await refused(server)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert error.code == Code.INVALID_MODEL_FILE
    assert server.bytes <= LONGEST_BYTES
    assert len(server.asked) <= 9
    assert peak < 4 * LONGEST_BYTES


async def test_the_costliest_header_does_not_stop_the_loop() -> None:
    """Four million empty texts: what keeps the parser busiest for its bytes."""
    count = (LONGEST_BYTES - 4096) // 8
    array = struct.pack("<IIQ", 9, 8, count) + bytes(8 * count)
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + gguf_files.ARCHITECTURE + gguf_files.text("x") + array
    beats: list[float] = []

    async def beat() -> None:
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.01)

    heart = asyncio.create_task(beat())
    found = await opened(Server(data))
    heart.cancel()
    assert found.header.facts.architecture == "llama"
    assert len(beats) > 5
    assert max(after - before for before, after in pairwise(beats)) < 2.0


async def test_only_so_many_headers_are_in_memory_at_once(tmp_path: Path) -> None:
    data = gguf_files.write_tiny(tmp_path / "tiny.gguf")
    reader = HeaderReader(at_once=2)
    inside, most = 0, 0

    async def read(start: int, end: int) -> Piece:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.001)
        inside -= 1
        return Piece(data[start:end], len(data), URL)

    await asyncio.gather(*(reader.read(read, name="f", size=None, param=PARAM) for _ in range(8)))
    assert most == 2


async def test_a_server_that_drips_is_left() -> None:
    async def read(start: int, end: int) -> Piece:
        await asyncio.sleep(0.02)
        return Piece(with_text(100_000)[start : start + 10], None, URL)

    with pytest.raises(Unavailable, match="did not arrive within"):
        await HeaderReader(deadline=0.05).read(read, name="f", size=None, param=PARAM)
