"""The admin port: probes, metrics, the demand that the operator reads, and what this gateway knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from paddock_api.errors import Code, PaddockError
from paddock_gateway.fleet.snapshot import Pod, Snapshot
from paddock_gateway.front.answers import answer, answer_error, answer_json
from paddock_gateway.metrics import CONTENT_TYPE


class Inside(Protocol):
    """What the admin port shows."""

    def unready(self) -> str | None:
        """Why no client should be sent here, None if all is well."""
        ...

    def metrics(self) -> bytes: ...

    def demand(self) -> Mapping[str, Any]: ...

    def state(self) -> Mapping[str, Any]: ...


class Admin:
    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._routes: dict[str, Callable[[ASGISendCallable], Any]] = {
            "/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics, "/demand": self._demand,
            "/state": self._state,
        }

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        route = self._routes.get(scope["path"])
        if route is None:
            await answer_error(send, PaddockError(Code.NOT_FOUND, f"There is nothing at {scope['path'][:200]!r}: the "
                                                  f"routes are {', '.join(self._routes)}."))
        elif scope["method"] != "GET":
            await answer_error(send, PaddockError(Code.METHOD_NOT_ALLOWED, "Use GET."))
        else:
            await route(send)

    async def _livez(self, send: ASGISendCallable) -> None:
        """That this answers proves the event loop."""
        await answer_json(send, {"status": "ok"})

    async def _readyz(self, send: ASGISendCallable) -> None:
        reason = self._inside.unready()
        if reason is None:
            await answer_json(send, {"status": "ok"})
        else:
            await answer_json(send, {"status": "failed", "reason": reason}, 503)

    async def _metrics(self, send: ASGISendCallable) -> None:
        await answer(send, 200, self._inside.metrics(), [(b"content-type", CONTENT_TYPE.encode())])

    async def _demand(self, send: ASGISendCallable) -> None:
        await answer_json(send, self._inside.demand())

    async def _state(self, send: ASGISendCallable) -> None:
        await answer_json(send, self._inside.state())


def show_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """For people: what this gateway would choose from."""
    return {
        "models": {str(model.id): {"pool": str(model.pool), "aliases": list(model.aliases),
                                   "maxReplicas": model.max_replicas, "neededBytes": model.needed_bytes}
                   for model in snapshot.models.values()},
        "pools": {str(pool): {"pods": [_show_pod(pod) for pod in snapshot.pods.get(pool, ())],
                              "silent": snapshot.silent.get(pool, 0)}
                  for pool in sorted(snapshot.pools.keys() | snapshot.pods.keys() | snapshot.silent.keys())},
    }




def _show_pod(pod: Pod) -> dict[str, Any]:
    return {"name": pod.name, "url": pod.url, "life": pod.life, "draining": pod.draining,
            "configGeneration": pod.config_generation, "budgetBytes": pod.budget_bytes,
            "models": {str(model): held.phase.value for model, held in sorted(pod.models.items())}}
