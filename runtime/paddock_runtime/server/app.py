"""The HTTP application."""

from __future__ import annotations

from fastapi import FastAPI

from paddock_runtime.server import catalog, errors, history, inference, status, usage
from paddock_runtime.server.context import Context
from paddock_runtime.server.envelope import Envelope
from paddock_runtime.server.guard import Guard


def create_app(context: Context) -> FastAPI:
    """All routes over `context`. The bus feeds its metrics from now on."""
    app = FastAPI(title="Paddock", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, token=context.token)
    app.add_middleware(Envelope, metrics=context.metrics, pressure=context.pressure)
    errors.install(app, context.service)
    for module in (inference, catalog, status, history, usage):
        app.include_router(module.routes(context))
    context.bus.listen(context.metrics.on_event)
    return app
