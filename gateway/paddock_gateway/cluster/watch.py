"""List and watch, for ever: forgets nothing while the API server is away, and never trusts a silent watch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import aiohttp
import msgspec

from paddock_gateway.cluster.api import Api, ApiProblem

logger = logging.getLogger("paddock.gateway.cluster")

_PAGE = 500
# The server sends bookmarks about once a minute: so long a silence is a fault.
SILENCE_SECONDS = 70.0
# After so long the server ends a watch by itself, so that no connection lives for ever.
SERVER_SECONDS = 290
_MAX_LINE_BYTES = 16 << 20
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 30.0

T = TypeVar("T")


class Resource(NamedTuple):
    """`kind` for people and metrics, `path` of the collection over all namespaces."""

    kind: str
    path: str
    labels: str = ""


@dataclass(frozen=True, kw_only=True)
class Sink:
    """Who hears. `replace` gets a complete list, `put` and `drop` one object; as JSON. ValueError: it can't be read."""

    replace: Callable[[list[bytes]], None]
    put: Callable[[bytes], None]
    drop: Callable[[bytes], None]


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Version(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Version


class _Status(msgspec.Struct):
    code: int = 0
    message: str = ""


_list = msgspec.json.Decoder(_List)
_event = msgspec.json.Decoder(_Event)
_versioned = msgspec.json.Decoder(_Versioned)
_status = msgspec.json.Decoder(_Status)


class Refused(Exception):
    """The server can't go on from the version we have: only a new list helps."""


class Watch:
    """One kind. `synced` once a complete list has come; `connected` while the server answers."""

    def __init__(self, api: Api, resource: Resource, sink: Sink, *, silence: float = SILENCE_SECONDS) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        self.connected = False
        self.lists = 0
        self._api, self._sink, self._silence = api, sink, silence
        self._version = ""
        self._heard = False
        self._complaint = ""

    @property
    def kind(self) -> str:
        return self.resource.kind

    async def run(self) -> None:
        """Until it is cancelled. What was known stays known through every failure."""
        wait = _FIRST_WAIT
        while True:
            self._heard = False
            try:
                await self._once()
            except (Refused, ApiProblem) as error:
                self._version = ""
                self._failed(error)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self._failed(error)
            wait = _FIRST_WAIT if self._heard else min(_LONGEST_WAIT, 2 * wait)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    async def _once(self) -> None:
        """A list if there is no version to go on from, then one watch to its end."""
        if not self._version:
            await self._relist()
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": self._version,
                 "timeoutSeconds": str(SERVER_SECONDS), **self._selector()}
        rest = b""
        async with contextlib.aclosing(self._api.stream(self.resource.path, query, silence=self._silence)) as chunks:
            async for chunk in chunks:
                self._answered()
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MAX_LINE_BYTES:
                    raise Refused(f"a watch event of more than {_MAX_LINE_BYTES} bytes")
                for line in lines:
                    if line:
                        self._take(line)

    async def _relist(self) -> None:
        items: list[bytes] = []
        query = {"limit": str(_PAGE), **self._selector()}
        while True:
            page = _decode(_list, await self._api.get(self.resource.path, query))
            self._answered()
            items.extend(bytes(item) for item in page.items or ())
            if not page.metadata.continue_:
                break
            query = {**query, "continue": page.metadata.continue_}
        self._sink.replace(items)
        self._version = page.metadata.resource_version
        self.lists += 1
        self.synced.set()
        logger.info("listed", extra={"kind": self.resource.kind, "data": {"objects": len(items)}})

    def _take(self, line: bytes) -> None:
        event = _decode(_event, line)
        if event.type == "ERROR":
            status = _decode(_status, event.object)
            raise Refused(f"{status.code}: {status.message[:300]}")
        try:
            if event.type in ("ADDED", "MODIFIED"):
                self._sink.put(bytes(event.object))
            elif event.type == "DELETED":
                self._sink.drop(bytes(event.object))
        except ValueError as error:
            logger.error("an object can't be read and is left out: %s", error, extra={"kind": self.resource.kind})
        self._version = _decode(_versioned, event.object).metadata.resource_version or self._version

    def _selector(self) -> dict[str, str]:
        return {"labelSelector": self.resource.labels} if self.resource.labels else {}

    def _answered(self) -> None:
        self._heard = self.connected = True
        if self._complaint:
            self._complaint = ""
            logger.info("the API server answers again", extra={"kind": self.resource.kind})

    def _failed(self, error: Exception) -> None:
        """Once for each new reason: an outage may last."""
        self.connected = False
        text = f"{type(error).__name__}: {error}"[:500]
        if text != self._complaint:
            self._complaint = text
            logger.warning("the API server can't be watched, what is known stays in force: %s", text,
                           extra={"kind": self.resource.kind})


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(f"not what an API server should say: {error}") from error
