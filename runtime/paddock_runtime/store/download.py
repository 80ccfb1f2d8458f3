"""One file over HTTP into a partial, as often interrupted as it takes, until the digest proves it whole."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store.addresses import shown
from paddock_runtime.store.answers import MAX_FILE_BYTES, Asked, Body, Passing, judge, validator
from paddock_runtime.store.connect import Connector
from paddock_runtime.store.digest import Report
from paddock_runtime.store.partial import Note, Partial
from paddock_runtime.store.places import Remote
from paddock_runtime.store.retries import Retries
from paddock_runtime.store.space import DiskSpace, write_error
from paddock_runtime.store.threads import in_thread

BLOCK_BYTES = 1 << 20  # what a killed process may lose, and so fetch twice
_LIFE_BYTES = 16 << 10  # fewer than this in `stall_seconds` is a stall, or a server could drip for ever
_REPORT_SECONDS = 0.2

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """`size` when the source was resolved and is one file. `token` gives what its server may be shown; it is asked
    for each request, and may raise PaddockError."""

    file: Remote
    size: int | None = None
    token: Callable[[], str | None] = lambda: None

    @property
    def url(self) -> httpx.URL:
        return self.file.url

    @property
    def sha256(self) -> str:
        return self.file.sha256


class Download:
    """Runs once. Whoever runs it holds the digest's lock."""

    def __init__(
        self, wanted: Wanted, partial: Partial, *, connector: Connector, space: DiskSpace, retries: Retries,
        root: Path, report: Report, sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._wanted = wanted
        self._partial = partial
        self._connector = connector
        self._space = space
        self._retries = retries
        self._root = root
        self._report = report
        self._sleep = sleep
        self._ranges = True
        self._doubtful = partial.resumed
        self._reported = 0.0

    async def run(self) -> None:
        """Returns when the partial holds the very bytes. Raises PaddockError; bytes worth resuming are kept."""
        with self._space.claimed(self._wanted.sha256):
            await self._fetch()
            if self._partial.sha256() != self._wanted.sha256 and self._doubtful:
                # Pieces from several answers, or an end that nobody announced: once more, in one piece.
                self._restart()
                self._doubtful = False
                await self._fetch()
        found = self._partial.sha256()
        if found != self._wanted.sha256:
            length = self._partial.length
            self._partial.discard()
            raise PaddockError(
                Code.CHECKSUM_MISMATCH,
                f"the {length} bytes from {self._where} have the sha256 {found}, but {self._wanted.sha256} is "
                "expected: correct the digest, or find the file that it belongs to", param=self._wanted.file.param)

    @property
    def _where(self) -> str:
        return shown(self._wanted.url)

    async def _fetch(self) -> None:
        while not self._is_whole():
            before = self._partial.length
            try:
                await self._try()
                return
            except Passing as fault:
                gained = self._partial.length > before
                if fault.restart:
                    self._restart()
                self._ranges = self._ranges and fault.ranges
                self._doubtful = self._doubtful or self._partial.length > 0
                await self._wait(fault, gained=gained)

    async def _wait(self, fault: Passing, *, gained: bool) -> None:
        pause = self._retries.pause(fault, gained=gained)
        if pause is None:
            raise PaddockError(
                Code.SOURCE_UNAVAILABLE,
                f"{self._where} can't be fetched now: {fault.reason} (tried {self._retries.tries} times; "
                f"{self._partial.length} bytes are kept)", retry_after=fault.retry_after or 30.0) from None
        await self._sleep(pause)

    def _is_whole(self) -> bool:
        total = self._wanted.size or self._partial.note.total
        return total is not None and self._partial.length == total

    async def _try(self) -> None:
        """One request. Raises Passing for what another may mend."""
        stall = self._retries.policy.stall_seconds
        if not self._ranges:
            self._restart()
        token = self._wanted.token()
        asked = Asked(self._where, self._partial.length, self._partial.note.total, self._wanted.file.remedy)
        try:
            async with asyncio.timeout(stall) as watch, self._connector.get(
                self._wanted.url, self._headers(), step_seconds=stall, token=token
            ) as response:
                body = judge(asked, response.status_code, response.headers, size=self._wanted.size)
                self._begin(body, response.headers)
                if body.total != self._partial.length:
                    await self._receive(response, body, watch)
        except TimeoutError:
            raise Passing(f"the server sent next to nothing for {stall:.0f} s") from None
        except httpx.TransportError as error:
            raise _transport_fault(error, self._where) from error
        except httpx.InvalidURL as error:
            raise PaddockError(Code.SOURCE_REFUSED, f"{self._where} leads to what is not a URL") from error
        except OSError as error:
            raise Passing(f"its host can't be found or reached: {error.strerror or 'no answer'}") from error

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "paddock", "Connection": "close"}
        if self._partial.length:
            headers["Range"] = f"bytes={self._partial.length}-"
            note = self._partial.note
            # A validator means something to the server that gave it only. Without one the digest alone decides.
            if note.validator is not None and note.origin == self._origin():
                headers["If-Range"] = note.validator
        return headers

    def _origin(self) -> str:
        return hashlib.sha256(str(self._wanted.url).encode()).hexdigest()

    def _begin(self, body: Body, headers: httpx.Headers) -> None:
        try:
            if body.start == 0 and self._partial.length:
                self._restart()
            self._partial.describe(Note(self._origin(), validator(headers), body.total))
        except OSError as error:
            raise write_error(self._root, error) from error
        self._space.claim(self._wanted.sha256, (body.total or self._partial.length) - self._partial.length)
        self._doubtful = self._doubtful or body.total is None
        self._progress()

    async def _receive(self, response: httpx.Response, body: Body, watch: asyncio.Timeout) -> None:
        limit = body.total or self._wanted.size or MAX_FILE_BYTES
        buffer = bytearray()
        signs = 0
        try:
            async for chunk in response.aiter_raw():
                buffer += chunk
                signs += len(chunk)
                if self._partial.length + len(buffer) > limit:
                    buffer.clear()
                    raise self._too_long(limit, declared=body.total is not None)
                if len(buffer) >= BLOCK_BYTES:
                    watch.reschedule(None)  # our disk's time is not the server's
                    await self._write(buffer)
                    signs = _LIFE_BYTES  # the server's time begins anew
                if signs >= _LIFE_BYTES:
                    watch.reschedule(asyncio.get_running_loop().time() + self._retries.policy.stall_seconds)
                    signs = 0
        finally:
            await self._write(buffer)  # a cut, a stall or a cancel loses nothing
        if body.total is not None and self._partial.length < body.total:
            raise Passing("the connection was cut")

    async def _write(self, buffer: bytearray) -> None:
        block = bytes(buffer)
        buffer.clear()
        if not block:
            return
        try:
            await in_thread(self._partial.append, block)
        except OSError as error:
            raise write_error(self._root, error) from error
        self._space.used(self._wanted.sha256, len(block))
        self._progress()

    def _progress(self) -> None:
        total = self._partial.note.total
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS or self._partial.length == total:
            self._reported = now
            self._report(self._partial.length / total if total else None)

    def _too_long(self, limit: int, *, declared: bool) -> Exception:
        if declared:
            return Passing("the server sent more bytes than it announced", restart=True)
        return PaddockError(Code.SIZE_MISMATCH, f"{self._where} has more than {limit} bytes: "
                            "it is not the file that was resolved")

    def _restart(self) -> None:
        try:
            self._partial.restart()
        except OSError as error:
            raise write_error(self._root, error) from error


def _transport_fault(error: httpx.TransportError, where: str) -> Exception:
    """In our words: httpx's may quote what the server sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return PaddockError(
                Code.SOURCE_UNAVAILABLE, f"the certificate of {where} is not trusted: {cause.verify_message}; "
                "name the CA bundle that signs it in SSL_CERT_FILE", param="source.http.url")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return Passing("the server did not answer in time")
    if isinstance(error, httpx.ConnectError):
        return Passing("no connection could be made")
    return Passing("the connection was cut")
