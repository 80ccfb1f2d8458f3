"""The routes that pods answer: read, resolve, queue, find a pod, hand its answer on."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.state import Phase
from paddock_gateway.access.keys import Grant
from paddock_gateway.fleet.world import World
from paddock_gateway.front.answers import Header
from paddock_gateway.front.connection import connection_of
from paddock_gateway.front.reading import Words, find_words, read_body, unless_gone
from paddock_gateway.front.record import Record
from paddock_gateway.front.relay import Broken, Delivery, lost
from paddock_gateway.metrics import Metrics
from paddock_gateway.proxy.seek import GaveUp, Seeker
from paddock_gateway.proxy.traffic import Ticket, Traffic
from paddock_gateway.proxy.upstream import DEADLINE_GRACE, Ask, Opened
from paddock_gateway.proxy.verdict import Refusal, refused
from paddock_gateway.settings import Settings

logger = logging.getLogger("paddock.gateway.proxy")

PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})


@dataclass(kw_only=True, eq=False)
class Exchange:
    """A request that is on its way. `cut` ends it where it stands: its client is told that the gateway goes."""

    limit: asyncio.Timeout
    was_cut: bool = False

    def cut(self) -> None:
        if not self.limit.expired():
            self.was_cut = True
            self.limit.reschedule(asyncio.get_running_loop().time())


class Inference:
    def __init__(self, world: World, traffic: Traffic, seeker: Seeker, metrics: Metrics, settings: Settings) -> None:
        self._world, self._traffic, self._seeker = world, traffic, seeker
        self._metrics, self._settings = metrics, settings
        self.running: set[Exchange] = set()
        self._was_cut = False

    async def serve(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable, record: Record,
                    grant: Grant) -> None:
        """Raises PaddockError or GaveUp before anything was sent; Left, Stalled."""
        settings = self._settings
        with self._traffic.reading() as take:
            body = await read_body(scope, receive, limit=settings.max_body, seconds=settings.body_timeout, take=take)
        record.body_read = True
        if self._was_cut:
            raise PaddockError(Code.DRAINING, "This gateway ends: send the request again.", retry_after=1.0)
        words = find_words(body)
        model = self._world.snapshot.names.resolve(words.model, grant.namespaces)
        record.model = str(model)
        ticket = self._traffic.enter(model, places=self._places(model), body=len(body))
        try:
            ask = self._ask(scope["path"], model, body, words, record, grant)
            del body  # the one that may be sent is `ask`'s, which lets go of it
            delivery = Delivery(send, connection_of(scope), record, stall=settings.stall)
            await unless_gone(receive, self._exchange(ask, ticket, delivery, record))
        finally:
            ticket.close()

    def cut_all(self) -> None:
        """Also of requests whose bodies are still coming in: they are told so when they are here."""
        self._was_cut = True
        for exchange in list(self.running):
            exchange.cut()

    def _ask(self, path: str, model: ModelId, body: bytes, words: Words, record: Record, grant: Grant) -> Ask:
        now = asyncio.get_running_loop().time()
        return Ask(path=path, model=model, body=body, stream=words.stream and path != "/v1/embeddings",
                   tenant=grant.tenant, request_id=record.request_id, hold_until=now + self._settings.hold,
                   deadline=now + self._settings.deadline)

    def _places(self, model: ModelId) -> int:
        """Pods that have the Model, each of which has a queue."""
        snapshot = self._world.snapshot
        pods = snapshot.pods.get(snapshot.models[model].pool, ())
        return sum(pod.held(model).phase is Phase.READY for pod in pods)

    async def _exchange(self, ask: Ask, ticket: Ticket, delivery: Delivery, record: Record) -> None:
        limit = asyncio.timeout_at(ask.deadline + DEADLINE_GRACE)
        exchange = Exchange(limit=limit)
        self.running.add(exchange)
        try:
            async with limit:
                await self._answer(ask, ticket, delivery, record)
            return
        except GaveUp as error:
            failure = error.refusal
        except TimeoutError:
            failure = _ended(exchange)
        finally:
            self.running.discard(exchange)
            record.attempts = ask.attempts
        record.code = failure.code
        if not delivery.started:
            raise GaveUp(failure)
        if ask.stream:
            await delivery.fail_stream(failure)
        else:
            delivery.abort()

    async def _answer(self, ask: Ask, ticket: Ticket, delivery: Delivery, record: Record) -> None:
        opened = await self._find(ask, ticket, delivery)
        try:
            self._begun(opened, ask, ticket, record)
            extra = self._extra(opened)
            if opened.streamed:
                await delivery.stream(opened, extra)
            elif delivery.started:
                raise GaveUp(lost(opened.pod.name))  # a document can't follow the headers of a stream
            else:
                await delivery.document(opened, extra)
        except Broken:
            logger.warning("a pod's answer broke off", extra={
                "model": record.model, "pod": opened.pod.name, "request_id": record.request_id})
            self._seeker.doubt(opened.pod)
            raise GaveUp(lost(opened.pod.name)) from None
        finally:
            opened.close()

    async def _find(self, ask: Ask, ticket: Ticket, delivery: Delivery) -> Opened:
        if not ask.stream:
            return await self._seeker.seek(ask, ticket)
        task = asyncio.create_task(self._seeker.seek(ask, ticket))
        return await delivery.hold(task, ask, headers_after=self._settings.headers_after,
                                   heartbeat=self._settings.heartbeat)

    def _begun(self, opened: Opened, ask: Ask, ticket: Ticket, record: Record) -> None:
        ticket.answered()
        ask.body = b""  # from now on nothing is sent again
        record.answered()
        record.pod = opened.pod.name
        pods = self._world.snapshot.pods.get(opened.pod.pool, ())
        known = next((pod for pod in pods if pod.name == opened.pod.name), opened.pod)
        record.revision = known.held(ask.model).revision
        if record.first is not None:
            self._metrics.first_content(record.model, record.first)

    def _extra(self, opened: Opened) -> tuple[Header, ...]:
        return ((b"paddock-pod", opened.pod.name.encode()),) if self._settings.show_pod else ()


def _ended(exchange: Exchange) -> Refusal:
    if exchange.was_cut:
        return refused(PaddockError(Code.DRAINING, "This gateway ends before the answer was complete: send the request "
                                    "again.", retry_after=1.0))
    return refused(PaddockError(Code.DEADLINE, "The request's deadline has passed before its answer was complete."))


