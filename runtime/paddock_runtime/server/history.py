"""What became of a Model: `/models/{namespace}/{name}/history`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from paddock_api.errors import Code, PaddockError
from paddock_runtime.record import NoRecord
from paddock_runtime.server.context import Context


def routes(context: Context) -> APIRouter:
    router = APIRouter()

    @router.get("/models/{namespace}/{name}/history")
    async def history(namespace: str, name: str) -> Response:
        """An alias is as good as a name here."""
        model = context.service.resolve(f"{namespace}/{name}")
        if context.history is None:
            raise _absent("it was not asked for")
        try:
            found = await context.history(model)
        except NoRecord as error:
            raise _absent(str(error)) from None
        if context.token is None and context.directory is not None:
            found = found.model_copy(update={"directory": str(context.directory)})
        return Response(found.model_dump_json(), media_type="application/json")

    return router


def _absent(why: str) -> PaddockError:
    return PaddockError(Code.NOT_FOUND, f"This server keeps no record: {why}.")
