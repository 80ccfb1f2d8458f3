"""`/state`, `/events`, `/metrics` and the probes."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from paddock_api.events import Event
from paddock_runtime.bus import Gap, Subscription
from paddock_runtime.metrics import CONTENT_TYPE
from paddock_runtime.server.connection import connection_of
from paddock_runtime.server.context import Context
from paddock_runtime.server.errors import json_response
from paddock_runtime.server.reading import unless_gone
from paddock_runtime.server.sse import EventWriter


def routes(context: Context) -> APIRouter:
    router = APIRouter()
    service = context.service

    @router.get("/state")
    async def state() -> Response:
        return Response(service.state().model_dump_json(), media_type="application/json")

    @router.get("/events")
    async def events(request: Request) -> Response:
        return EventFeed(context)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(context.metrics.render(service), headers={"content-type": CONTENT_TYPE})

    @router.get("/livez")
    async def livez() -> Response:
        """That this answers proves the event loop; the rest is judged by heartbeats."""
        ailment = context.ailment()
        return _probe(ailment is None, ailment or "")

    @router.get("/readyz")
    async def readyz() -> Response:
        return _probe(not service.leaving and not context.ending.is_set(), "draining")

    return router


def _probe(good: bool, reason: str) -> Response:
    return json_response({"status": "ok"} if good else {"status": "failed", "reason": reason},
                         status=200 if good else 503)


class EventFeed(Response):
    """A snapshot, then every event after it. A reader that fell behind gets a new snapshot."""

    def __init__(self, context: Context) -> None:
        self.background = None
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._context.settings
        connection = connection_of(scope)
        writer = EventWriter(send, connection, headers_after=0.0, heartbeat=settings.idle_heartbeat,
                             stall=settings.stall)
        writer.comment = "heartbeat"
        await unless_gone(receive, self._serve(writer))

    async def _serve(self, writer: EventWriter) -> None:
        subscription = self._context.bus.subscribe()
        following = asyncio.create_task(self._follow(writer, subscription))
        ending = asyncio.create_task(self._context.ending.wait())
        try:
            await asyncio.wait({following, ending}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()  # it ends only by failing
        finally:
            for task in (following, ending):
                task.cancel()
            await asyncio.wait({following, ending})
            subscription.close()
            writer.close()
        await writer.quiet()
        await writer.finish()

    async def _follow(self, writer: EventWriter, subscription: Subscription) -> None:
        known = await self._snapshot(writer)
        while True:
            try:
                event = await subscription.next()
            except Gap:
                known = await self._snapshot(writer)
                continue
            if event.sequence > known:
                await writer.send(change(event))

    async def _snapshot(self, writer: EventWriter) -> int:
        """Writes the state of now; events up to its sequence are in it already."""
        state = self._context.service.state()
        await writer.send(_event("snapshot", state.epoch, state.sequence, state.model_dump_json()))
        return state.sequence


def change(event: Event) -> bytes:
    return _event("change", event.epoch, event.sequence, event.model_dump_json())


def _event(kind: str, epoch: str, sequence: int, data: str) -> bytes:
    return f"event: {kind}\nid: {epoch}-{sequence}\ndata: {data}\n\n".encode()
