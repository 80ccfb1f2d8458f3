"""Follows one pod: its event stream for what happens, its state for the details."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import aiohttp

from paddock_api.event_stream import Decoder, Message, TooLarge
from paddock_operator.pods.shared import Shared
from paddock_operator.pods.thrift import Thrift
from paddock_operator.pods.view import Change, Gap, PodView, Unreadable, read_event, read_state
from paddock_operator.queue import Backoff
from paddock_operator.store import Key

_MAX_STATE = 64 << 20
_log = logging.getLogger(__name__)


class PodRef(NamedTuple):
    """One life of a pod, the pool that it belongs to, and where it listens: `http://host:port`."""

    pool: Key
    name: str
    uid: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds. `idle`: without a byte for so long (the pod sends heartbeats), the stream is dead. `poll`: how old the
    details may get without an event. `gap`: the least between two readings of them."""

    connect: float = 5.0
    idle: float = 60.0
    poll: float = 60.0
    gap: float = 1.0
    request: float = 15.0


class Sink(Protocol):
    def reported(self, pod: PodRef, view: PodView, change: Change) -> None: ...

    def silent(self, pod: PodRef, why: str) -> None: ...


class _Lost(Exception):
    """The stream ended, or never began."""


_EXPECTED = (_Lost, aiohttp.ClientError, TimeoutError, OSError, Unreadable, TooLarge)


class Follower:
    """`token` gives the pool's token as of now; `thrift` and `shared` are those of all. Runs until cancelled; reports
    nothing after that."""

    def __init__(self, session: aiohttp.ClientSession, pod: PodRef, token: Callable[[], str], sink: Sink,
                 thrift: Thrift, shared: Shared, pace: Pace | None = None, backoff: Backoff | None = None) -> None:
        self._session = session
        self._pod = pod
        self._token = token
        self._sink = sink
        self._thrift = thrift
        self._shared = shared
        self._pace = pace or Pace()
        self._backoff = backoff or Backoff(base=0.5, most=15.0)
        self._view: PodView | None = None
        self._details = asyncio.Event()

    async def run(self) -> None:
        failures = 0
        while True:
            why, reported = await self._life()
            failures = 1 if reported else failures + 1
            self._sink.silent(self._pod, why)
            level = logging.INFO if failures <= 1 else logging.DEBUG
            _log.log(level, "the pod's events can't be followed: %s", why, extra={"pod": self._pod.name})
            await asyncio.sleep(self._backoff.delay(failures))

    async def _life(self) -> tuple[str, bool]:
        """One stream from its begin to its end. Returns why it ended, and whether it told anything."""
        self._details.clear()
        self._view = None
        why = ""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stream())
                group.create_task(self._poll())
        except* Exception as problems:  # noqa: BLE001 - whatever it was, the pod is followed again
            first = problems.exceptions[0]
            if not isinstance(first, _EXPECTED):
                _log.error("following a pod failed", exc_info=first, extra={"pod": self._pod.name})
            why = str(first) or type(first).__name__
        return why, self._view is not None

    async def _stream(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._pace.connect, sock_read=self._pace.idle)
        async with self._session.get(f"{self._pod.address}/events", headers=self._headers(), timeout=timeout,
                                     allow_redirects=False) as response:
            if response.status != 200:
                raise _Lost(f"GET /events: {response.status}")
            decoder = Decoder()
            async for chunk in response.content.iter_any():
                for message in decoder.feed(chunk):
                    self._hear(message)
        raise _Lost("the pod closed its event stream")

    def _hear(self, message: Message) -> None:
        if message.event == "snapshot":
            state = read_state(message.data)
            if self._view is None:
                self._view = PodView(state, self._shared)
                everything = frozenset(self._view.models)
                self._sink.reported(self._pod, self._view, Change(everything, pod=True, details=False))
            else:
                self._sink.reported(self._pod, self._view, self._view.take(state))
            return
        if self._view is None:
            raise _Lost("the event stream did not begin with a snapshot")
        try:
            change = self._view.apply(read_event(message.data))
        except Gap:
            self._details.set()
            return
        if change.details:
            self._details.set()
        if change.models or change.pod:
            self._sink.reported(self._pod, self._view, change)

    async def _poll(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._pace.poll):
                    await self._details.wait()
            except TimeoutError:
                pass
            await self._thrift.turn()
            self._details.clear()
            data = await self._state()
            with self._thrift.spent():
                self._take(data)
            await asyncio.sleep(self._pace.gap)

    def _take(self, data: bytes) -> None:
        state = read_state(data)
        if self._view is not None:
            change = self._view.take(state)
            if change.models or change.pod:
                self._sink.reported(self._pod, self._view, change)

    async def _state(self) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self._pace.request)
        async with self._session.get(f"{self._pod.address}/state", headers=self._headers(), timeout=timeout,
                                     allow_redirects=False) as response:
            if response.status != 200:
                raise _Lost(f"GET /state: {response.status}")
            data = await response.content.read(_MAX_STATE + 1)
            while not response.content.at_eof() and len(data) <= _MAX_STATE:
                data += await response.content.read(_MAX_STATE + 1 - len(data))
        if len(data) > _MAX_STATE:
            raise Unreadable(f"its state has more than {_MAX_STATE} bytes")
        return data

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token()}"}
