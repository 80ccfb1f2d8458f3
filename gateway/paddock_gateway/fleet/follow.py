"""Follows each pod's `/events`, and says at once when a pod can't be reached."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping

import aiohttp

from paddock_api.event_stream import Decoder
from paddock_gateway.access.tokens import Tokens
from paddock_gateway.fleet.view import OutOfStep, PodView, apply_event, read_state
from paddock_gateway.fleet.world import Endpoint, PodKey, World

logger = logging.getLogger("paddock.gateway.fleet")

_CONNECT = 3.0
# A pod sends a sign of life every 15 s.
_SILENCE = 45.0
_STATE = 10.0
# Of five thousand Models a state is about 10 MiB.
_MOST_STATE_BYTES = 64 << 20
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
_LASTED = 1.0  # a connection that held so long was a good one: after it there is no wait


class PodRefuses(Exception):
    """The pod answered, but not with its events."""


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """Raises PodRefuses when there is no end to it."""
    body = bytearray()
    while piece := await content.readany():
        body += piece
        if len(body) > _MOST_STATE_BYTES:
            raise PodRefuses(f"a state of more than {_MOST_STATE_BYTES >> 20} MiB")
    return bytes(body)


class Followers:
    """One follower for each pod that the EndpointSlices name, ready or not."""

    def __init__(self, world: World, session: aiohttp.ClientSession, tokens: Tokens) -> None:
        self._world, self._session, self._tokens = world, session, tokens
        self._running: dict[PodKey, tuple[Follower, asyncio.Task[None]]] = {}
        world.on_endpoints(self.apply)

    def apply(self, endpoints: Mapping[PodKey, Endpoint]) -> None:
        """Starts and ends followers. A pod at another address is another pod."""
        for key, (follower, task) in list(self._running.items()):
            endpoint = endpoints.get(key)
            if endpoint is None or endpoint.url != follower.url:
                del self._running[key]
                task.cancel()
                self._world.drop_view(key)
            elif endpoint.ready != follower.ready:
                follower.ready = endpoint.ready
                follower.poke()
        for key, endpoint in endpoints.items():
            if key not in self._running:
                follower = Follower(endpoint, self._world, self._session, self._tokens)
                self._running[key] = (follower, asyncio.create_task(follower.run(), name=f"events of {key.name}"))

    def doubt(self, key: PodKey) -> None:
        """A request could not reach the pod: look now whether it is there."""
        if (running := self._running.get(key)) is not None:
            running[0].doubt()

    @property
    def settled(self) -> bool:
        """Whether every pod that is ready was asked at least once."""
        return all(follower.asked or not follower.ready for follower, _ in self._running.values())

    async def close(self) -> None:
        tasks = [task for _, task in self._running.values()]
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Follower:
    """`asked`: the first attempt is over, with or without success."""

    def __init__(self, endpoint: Endpoint, world: World, session: aiohttp.ClientSession, tokens: Tokens) -> None:
        self.url, self.ready, self.asked = endpoint.url, endpoint.ready, False
        self._key = endpoint.key
        self._world, self._session, self._tokens = world, session, tokens
        self._poked = asyncio.Event()
        self._response: aiohttp.ClientResponse | None = None
        self._complaint = ""

    def poke(self) -> None:
        """Try again now, if it is waiting to."""
        self._poked.set()

    def doubt(self) -> None:
        """Connect anew: the connection that is there may be to a process that is gone."""
        self._poked.set()
        if self._response is not None:
            self._response.close()

    async def run(self) -> None:
        """For ever. After a break it tries again at once, and if that fails what the pod holds is no longer known."""
        clock = asyncio.get_running_loop().time
        wait = 0.0
        while True:
            connected, began = False, clock()
            try:
                async with self._open() as response:
                    if response.status != 200:
                        raise PodRefuses(f"HTTP {response.status}")
                    connected, self._response = True, response
                    await self._read(response)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, PodRefuses) as error:
                self._complain(error)
            except OutOfStep:
                logger.debug("the events of %s have a gap: taking a new snapshot", self._key.name)
            self.asked, self._response = True, None
            if not connected:
                self._world.drop_view(self._key)
            if connected and clock() - began > _LASTED:
                wait = 0.0
            await self._pause(wait)
            wait = min(_LONGEST_WAIT, max(_FIRST_WAIT, 2 * wait))

    def _open(self) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT, sock_read=_SILENCE)
        return self._session.get(f"{self.url}/events", headers=self._headers(), timeout=timeout, allow_redirects=False)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        events, view = Decoder(), None
        async for chunk in response.content.iter_any():
            for message in events.feed(chunk):
                if message.event == "snapshot":
                    view, stale = read_state(message.data), False
                elif view is not None:
                    view, stale = apply_event(view, message.data)
                else:
                    continue
                self._complaint = ""
                self._world.put_view(self._key, view)
                self.asked = True
                if stale:
                    view = await self._state(view)
                    self._world.put_view(self._key, view)

    async def _state(self, known: PodView) -> PodView:
        """The whole state: a new configuration may have added and removed Models."""
        timeout = aiohttp.ClientTimeout(total=_STATE, connect=_CONNECT)
        async with self._session.get(f"{self.url}/state", headers=self._headers(), timeout=timeout,
                                     allow_redirects=False) as response:
            if response.status != 200:
                raise PodRefuses(f"HTTP {response.status}")
            view = read_state(await _whole(response.content))
        return view if view.life == known.life and view.sequence >= known.sequence else known

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens.of(self._key.pool)}", "Accept": "text/event-stream"}

    async def _pause(self, seconds: float) -> None:
        self._poked.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.8, 1.2)):
                await self._poked.wait()

    def _complain(self, error: Exception) -> None:
        """Once for each new reason: a pod that starts or ends is no news each second."""
        text = f"{type(error).__name__}: {error}"
        if text != self._complaint:
            self._complaint = text
            logger.info("the events of a pod can't be read", extra={"pod": self._key.name, "reason": text[:300]})
