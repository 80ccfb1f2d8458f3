"""The responses of inference: one job each, streamed or whole. A client that leaves ends its job at once."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from paddock_api.errors import Code, PaddockError
from paddock_runtime.jobs import Accepted, Job, Output, Stream, Text, Vectors, Waiting
from paddock_runtime.logs import outside_request
from paddock_runtime.openai.chunks import Chunks, error_event
from paddock_runtime.openai.embeddings import EmbeddingRequest, embedding_reply
from paddock_runtime.openai.replies import Reply
from paddock_runtime.server.connection import Connection, Stalled, connection_of, direct_send
from paddock_runtime.server.context import Context
from paddock_runtime.server.errors import unexpected
from paddock_runtime.server.reading import unless_gone
from paddock_runtime.server.record import Record
from paddock_runtime.server.sse import MAX_SEND, EventWriter

_SLICE = 32 << 10
_CLOSE_SECONDS = 10.0


class Answer(Response):
    """Runs `job` while it answers; PaddockError before the first byte becomes a plain error response."""

    def __init__(self, context: Context, job: Job, record: Record) -> None:
        self.background = None
        self._context = context
        self._job = job
        self._record = record
        self._direct: Send | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._direct = direct_send(scope)
        await unless_gone(receive, self._serve(send, connection_of(scope)))

    @abstractmethod
    async def _serve(self, send: Send, connection: Connection) -> None: ...

    @asynccontextmanager
    async def _outputs(self) -> AsyncIterator[Stream]:
        with outside_request():
            stream = self._context.service.submit(self._job)
        try:
            yield stream
        finally:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await stream.aclose()

    def _failed(self, error: Exception) -> PaddockError:
        failure = error if isinstance(error, PaddockError) else unexpected(error, self._record.request_id)
        self._record.code = failure.code.value
        return failure


class WholeAnswer(Answer):
    """One JSON document when all is there."""

    async def _serve(self, send: Send, connection: Connection) -> None:
        try:
            async with self._outputs() as stream:
                async for output in stream:
                    self._take(output)
        except PaddockError as error:
            raise self._failed(error) from error
        await self._send(send, connection, msgspec.json.encode(self._body()))

    @abstractmethod
    def _take(self, output: Output) -> None: ...

    @abstractmethod
    def _body(self) -> object: ...

    async def _send(self, send: Send, connection: Connection, body: bytes) -> None:
        """In slices, so that a slow reader of a long answer has little of it in our buffers."""
        await send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]})
        for start in range(0, len(body), _SLICE):
            try:
                await connection.writable(self._context.settings.stall)
            except Stalled:
                connection.abort()
                raise
            more = start + _SLICE < len(body)
            await send({"type": "http.response.body", "body": body[start:start + _SLICE], "more_body": more})


class WholeText(WholeAnswer):
    def __init__(self, context: Context, job: Job, record: Record, reply: Reply) -> None:
        super().__init__(context, job, record)
        self._reply = reply

    def _take(self, output: Output) -> None:
        if isinstance(output, Text):
            self._record.text(output)
            self._reply.add(output)
        elif isinstance(output, Accepted):
            self._record.accepted(output)

    def _body(self) -> object:
        return self._reply.body(self._record.revision or "")


class WholeVectors(WholeAnswer):
    def __init__(self, context: Context, job: Job, record: Record, request: EmbeddingRequest) -> None:
        super().__init__(context, job, record)
        self._request = request
        self._vectors: Vectors | None = None

    def _take(self, output: Output) -> None:
        if isinstance(output, Vectors):
            self._record.embedded(output)
            self._vectors = output
        elif isinstance(output, Accepted):
            self._record.accepted(output)

    def _body(self) -> object:
        if self._vectors is None:
            raise RuntimeError("the job ended without vectors")
        return embedding_reply(self._request, self._vectors)


class StreamedText(Answer):
    """Server-sent events. What fails after the headers went out is an event, and no `[DONE]` follows."""

    def __init__(self, context: Context, job: Job, record: Record, chunks: Chunks) -> None:
        super().__init__(context, job, record)
        self._chunks = chunks

    async def _serve(self, send: Send, connection: Connection) -> None:
        settings = self._context.settings
        writer = EventWriter(send, connection, headers_after=settings.headers_after, heartbeat=settings.heartbeat,
                             stall=settings.stall, body=self._direct)
        try:
            failure = await self._produce(writer)
            if failure is not None and failure.code is Code.CLIENT_STALLED:
                connection.abort()
                raise Stalled
            await writer.quiet()
            if failure is not None:
                if not writer.started:
                    raise failure
                await writer.send(error_event(failure))
            await writer.finish()
        finally:
            writer.close()

    async def _produce(self, writer: EventWriter) -> PaddockError | None:
        """Events that are ready together leave together."""
        ready: list[bytes] = []
        size = 0
        try:
            async with self._outputs() as stream:
                async for output in stream:
                    event = self._event(writer, output)
                    if event:
                        ready.append(event)
                        size += len(event)
                    if ready and (size >= MAX_SEND or not stream.ready):
                        await writer.send(b"".join(ready))
                        ready.clear()
                        size = 0
            failure = None
            ready.append(self._chunks.end())
        except Stalled:
            raise
        except Exception as error:  # noqa: BLE001  headers may be out: whatever failed must be said in the stream
            failure = self._failed(error)
        if ready:
            await writer.send(b"".join(ready))
        return failure

    def _event(self, writer: EventWriter, output: Output) -> bytes:
        if isinstance(output, Text):
            self._record.text(output)
            writer.heartbeat = self._context.settings.idle_heartbeat
            return self._chunks.text(output)
        if isinstance(output, Waiting):
            writer.comment = describe(output)
        elif isinstance(output, Accepted):
            self._record.accepted(output)
            writer.comment = "processing the prompt"
            if not self._chunks.begun:
                self._chunks.begin(output.served.revision.id)
        return b""


def describe(waiting: Waiting) -> str:
    """`loading 42%`: the comment that keeps a waiting stream alive."""
    progress = "" if waiting.progress is None else f" {waiting.progress:.0%}"
    return f"{waiting.phase.value.lower()}{progress}"
