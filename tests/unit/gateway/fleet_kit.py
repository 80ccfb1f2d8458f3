"""Small worlds for tests: Models, pods, and what they hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from paddock_api.identity import ModelId
from paddock_api.state import Phase
from paddock_gateway.fleet.snapshot import Held, ModelInfo, Pod, PoolId

POOL = PoolId("paddock-system", "default")


def model(name: str = "gemma", namespace: str = "team", **fields: Any) -> ModelInfo:
    return ModelInfo(id=ModelId(namespace, name), pool=fields.pop("pool", POOL), **fields)


def pod(ordinal: int, held: dict[ModelInfo, Phase | Held] | None = None, **fields: Any) -> Pod:
    models = {each.id: state if isinstance(state, Held) else Held(phase=state) for each, state in (held or {}).items()}
    name, url = f"default-runtime-{ordinal}", f"http://10.0.0.{ordinal}:8080"
    return Pod(name=name, pool=POOL, url=url, models=models, **fields)


async def until(check: Callable[[], object], *, within: float = 30.0) -> None:
    """Returns when `check` is true; fails after a generous deadline."""
    async with asyncio.timeout(within):
        while not check():  # noqa: ASYNC110  what is waited for sets no event
            await asyncio.sleep(0.005)


def state_json(*models: dict[str, Any], **fields: Any) -> bytes:
    """A PodState as a pod sends it."""
    memory = {"budget_bytes": 1000, "charged_bytes": 0, "measured_bytes": 0}
    return json.dumps({
        "pod": "default-runtime-0", "epoch": "life", "sequence": 7, "version": "test", "config_generation": 3,
        "config_hash": "hash", "draining": False, "memory": memory, "engines": [],
        "models": [{"namespace": "team", "name": "gemma", "revision": "r1", "phase": "Cached", **each}
                   for each in models], **fields}).encode()


def event_json(sequence: int, type: str, **fields: Any) -> bytes:
    return json.dumps({"epoch": "life", "sequence": sequence, "time": 1.0, "type": type, **fields}).encode()
