"""`/v1/models`, and loading and unloading by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_api.state import PodState
from paddock_runtime.logs import outside_request
from paddock_runtime.server.context import Context
from paddock_runtime.server.errors import json_response


def routes(context: Context) -> APIRouter:
    router = APIRouter()
    service = context.service

    @router.get("/v1/models")
    async def models() -> Response:
        return json_response({"object": "list", "data": list_models(service.state(), context.started)})

    @router.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        return json_response(describe(service.resolve(name), name, context.started))

    @router.post("/models/{namespace}/{name}:load")
    async def load(namespace: str, name: str) -> Response:
        return await _ask(context, namespace, name, service.load)

    @router.post("/models/{namespace}/{name}:unload")
    async def unload(namespace: str, name: str) -> Response:
        return await _ask(context, namespace, name, service.unload)

    @router.post("/models/{namespace}/{name}:prefetch")
    async def prefetch(namespace: str, name: str) -> Response:
        return await _ask(context, namespace, name, service.prefetch)

    return router


def list_models(state: PodState, created: int) -> list[dict[str, Any]]:
    """Bare names where they are unambiguous, else `namespace/name`."""
    names = Counter(model.name for model in state.models)
    return [describe(ModelId(model.namespace, model.name),
                     model.name if names[model.name] == 1 else f"{model.namespace}/{model.name}", created)
            for model in sorted(state.models, key=lambda model: (model.namespace, model.name))]


def describe(model: ModelId, name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": model.namespace}


async def _ask(context: Context, namespace: str, name: str, action: Callable[[ModelId], Awaitable[None]]) -> Response:
    """202: it was asked for; `/state` and `/events` tell how it goes."""
    model = context.service.resolve(f"{namespace}/{name}")
    if model != ModelId(namespace, name):
        raise PaddockError(Code.MODEL_NOT_FOUND, f"{namespace}/{name} is an alias: name {model} itself.")
    with outside_request():
        await action(model)
    phase = next((item.phase for item in context.service.state().models
                  if (item.namespace, item.name) == model), None)
    return json_response({"model": str(model), "phase": phase}, status=202)
