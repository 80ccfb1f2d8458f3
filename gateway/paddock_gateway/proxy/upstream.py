"""One attempt at one pod: the request goes out, and what comes back is an answer that has begun, or a refusal."""

from __future__ import annotations

import asyncio
import io
import socket
from dataclasses import dataclass
from typing import Any

import aiohttp

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_gateway.access.tokens import Tokens
from paddock_gateway.fleet.snapshot import Pod
from paddock_gateway.proxy.preamble import Preamble
from paddock_gateway.proxy.verdict import Refusal, Verdict, read_error_event, read_refusal, refused

_CONNECT = 3.0
# A stream shows life at least each 15 s, whatever its pod computes.
_STREAM_SILENCE = 60.0
_IDLE_CONNECTION = 30.0  # less than the pods' own limit, so that no request meets a connection that is being closed
_READ_BUFFER = 8 << 10
_RECEIVE_BUFFER = 64 << 10
_MAX_ERROR_BYTES = 64 << 10
_WRITE_AT_ONCE = 256 << 10
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_LOSS_MILLISECONDS = 30_000
# The pod says so itself when the deadline has passed; without a word from it the gateway does.
DEADLINE_GRACE = 1.0


@dataclass(kw_only=True)
class Ask:
    """One request as pods get it. Times are the event loop's. `progress`: what is known of why it waits."""

    path: str
    model: ModelId
    body: bytes
    stream: bool
    tenant: str
    request_id: str
    hold_until: float
    deadline: float
    progress: str = "waiting"
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An answer that has begun. `first`: bytes of its body that were read already."""

    response: aiohttp.ClientResponse
    pod: Pod
    first: bytes
    streamed: bool

    def close(self) -> None:
        """Cuts the connection unless the answer was read to its end: the pod notices at once."""
        self.response.close()


def make_session() -> aiohttp.ClientSession:
    """Kept connections to the pods. Bounds of the queues bound their number."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION, use_dns_cache=False,
                                     socket_factory=_socket)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
                                 trust_env=False, read_bufsize=_READ_BUFFER,
                                 headers={"User-Agent": "paddock-gateway", "Accept-Encoding": "identity"})


class Upstream:
    def __init__(self, session: aiohttp.ClientSession, tokens: Tokens) -> None:
        self._session, self._tokens = session, tokens

    async def send(self, ask: Ask, pod: Pod) -> Opened | Refusal:
        """Waits until the pod's answer has content, or is an error. Cancelling it cuts the connection."""
        try:
            response = await self._session.post(
                f"{pod.url}{ask.path}", data=_payload(ask.body), headers=self._headers(ask, pod),
                timeout=_timeout(ask.stream), allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return _unreachable(pod, Verdict.NEXT, error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _unreachable(pod, Verdict.AGAIN, error)
        kept = False
        try:
            result = await _begun(response, ask, pod)
            kept = isinstance(result, Opened)
            return result
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _unreachable(pod, Verdict.AGAIN, error)
        finally:
            if not kept:
                response.close()

    def _headers(self, ask: Ask, pod: Pod) -> dict[str, str]:
        now = asyncio.get_running_loop().time()
        return {
            "Authorization": f"Bearer {self._tokens.of(pod.pool)}",
            "Content-Type": "application/json",
            "paddock-model": str(ask.model),
            "paddock-tenant": ask.tenant,
            "paddock-hold": f"{max(0.0, ask.hold_until - now):.3f}",
            "paddock-deadline": f"{max(0.0, ask.deadline - now):.3f}",
            "x-request-id": ask.request_id,
        }


async def _begun(response: aiohttp.ClientResponse, ask: Ask, pod: Pod) -> Opened | Refusal:
    if response.status != 200:
        body = await _error_body(response.content)
        return read_refusal(response.status, body, retry_after=_seconds(response.headers.get("Retry-After")),
                            should_retry=response.headers.get("x-should-retry") != "false", pod=pod.name)
    if response.content_type != "text/event-stream":
        first = await response.content.readany()
        return Opened(response=response, pod=pod, first=first, streamed=False)
    preamble = Preamble()
    while not preamble.done:
        chunk = await response.content.readany()
        if not chunk:
            return _unreachable(pod, Verdict.AGAIN, None)
        preamble.feed(chunk)
        ask.progress = preamble.progress or ask.progress
    if preamble.first.startswith(b'{"error"') and (refusal := read_error_event(preamble.first, pod.name)):
        return refusal
    return Opened(response=response, pod=pod, first=preamble.rest, streamed=True)


async def _error_body(content: aiohttp.StreamReader) -> bytes:
    """All of it, however many pieces it comes in, up to a bound."""
    body = b""
    while len(body) < _MAX_ERROR_BYTES and (piece := await content.read(_MAX_ERROR_BYTES - len(body))):
        body += piece
    return body


def _unreachable(pod: Pod, verdict: Verdict, error: Exception | None) -> Refusal:
    why = "ended its answer before it began" if error is None else f"could not be reached ({type(error).__name__})"
    return refused(PaddockError(Code.POD_UNREACHABLE, f"The pod that should answer {why}: try again."), verdict,
                   pod=pod.name, lost=True)


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A large body goes out in pieces, so that other requests get their turn."""
    return body if len(body) <= _WRITE_AT_ONCE else io.BytesIO(body)


def _timeout(stream: bool) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=_CONNECT, sock_read=_STREAM_SILENCE if stream else None)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _socket(address: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]],
            ) -> socket.socket:
    """Small kernel buffers, so that a slow client's back-pressure reaches the pod; and a lost host is noticed."""
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LOSS_MILLISECONDS)
    return sock
