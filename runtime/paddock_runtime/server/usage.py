"""`/usage`: what each Model, tenant and namespace has used; and the metrics of it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from paddock_runtime.server.context import Context
from paddock_runtime.usage.collector import UsageCollector


def routes(context: Context) -> APIRouter:
    """None where nobody counts. The metrics have the same source."""
    router, source = APIRouter(), context.usage
    if source is None:
        return router
    context.metrics.registry.register(UsageCollector(source))

    @router.get("/usage")
    async def usage() -> Response:
        text = await asyncio.to_thread((await source.usage()).model_dump_json)
        return Response(text, media_type="application/json")

    return router
