"""The OpenAI routes: read, resolve, submit."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from paddock_runtime.jobs import Job, Served, Work
from paddock_runtime.openai.body import fingerprint_bytes
from paddock_runtime.openai.chat import chat_work, read_chat
from paddock_runtime.openai.chunks import ChatChunks, CompletionChunks
from paddock_runtime.openai.completions import read_completion
from paddock_runtime.openai.embeddings import embed_work, read_embedding
from paddock_runtime.openai.generation import Options, generate_work
from paddock_runtime.openai.replies import ChatReply, CompletionReply
from paddock_runtime.server.answers import Answer, StreamedText, WholeText, WholeVectors
from paddock_runtime.server.context import Context
from paddock_runtime.server.guard import trusted_of
from paddock_runtime.server.reading import read_object
from paddock_runtime.server.record import record_of

# Fields that change how an answer is sent, not what is computed.
_DELIVERY = frozenset({"stream", "stream_options", "user", "encoding_format", "metadata"})


def routes(context: Context) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await _chat(context, request)

    @router.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await _completions(context, request)

    @router.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        return await _embeddings(context, request)

    return router


async def _chat(context: Context, request: Request) -> Answer:
    body = await _body(context, request)
    parsed = read_chat(body)
    record = record_of(request.scope)

    async def prepare(served: Served) -> Work:
        return await chat_work(parsed, served, context.render)

    job = _job(context, request, parsed.options.model, body, prepare)
    options = parsed.options
    if options.stream:
        return StreamedText(context, job, record, ChatChunks(
            choices=options.choices, include_usage=options.include_usage, **_identity("chatcmpl", options)))
    return WholeText(context, job, record, ChatReply(choices=options.choices, **_identity("chatcmpl", options)))


async def _completions(context: Context, request: Request) -> Answer:
    body = await _body(context, request)
    parsed = read_completion(body)
    record = record_of(request.scope)

    async def prepare(served: Served) -> Work:
        return generate_work(parsed.options, parsed.prompt, served)

    job = _job(context, request, parsed.options.model, body, prepare)
    options = parsed.options
    if options.stream:
        return StreamedText(context, job, record, CompletionChunks(
            choices=options.choices, include_usage=options.include_usage, **_identity("cmpl", options)))
    return WholeText(context, job, record, CompletionReply(choices=options.choices, **_identity("cmpl", options)))


async def _embeddings(context: Context, request: Request) -> Answer:
    body = await _body(context, request)
    parsed = read_embedding(body)
    record = record_of(request.scope)

    async def prepare(served: Served) -> Work:
        return embed_work(parsed, served)

    return WholeVectors(context, _job(context, request, parsed.model, body, prepare), record, parsed)


async def _body(context: Context, request: Request) -> dict[str, Any]:
    settings = context.settings
    return await read_object(request, limit=settings.max_body, seconds=settings.body_timeout)


def _job(context: Context, request: Request, name: str, body: dict[str, Any],
         prepare: Callable[[Served], Awaitable[Work]]) -> Job:
    """`name` is the client's; what it stands for, the gateway may have said."""
    record, trusted, settings = record_of(request.scope), trusted_of(request.scope), context.settings
    model = context.service.resolve(name if trusted.model is None else str(trusted.model))
    record.resolved(model)
    now = time.monotonic()
    return Job(
        model=model,
        request_id=record.request_id,
        tenant=trusted.tenant or settings.tenant,
        fingerprint=fingerprint(str(model), body),
        hold_until=now + (settings.hold if trusted.hold is None else trusted.hold),
        deadline=now + (settings.deadline if trusted.deadline is None else trusted.deadline),
        prepare=prepare,
    )


def fingerprint(model: str, body: dict[str, Any]) -> str:
    """The same for requests that make the engine compute the same."""
    content = {key: value for key, value in body.items() if key not in _DELIVERY} | {"model": model}
    return hashlib.sha256(fingerprint_bytes(content)).hexdigest()


def _identity(prefix: str, options: Options) -> dict[str, Any]:
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "model": options.model, "created": int(time.time())}
