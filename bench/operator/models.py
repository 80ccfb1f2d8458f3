"""Models, applied all at once, and watched until they are Ready."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from paddock_operator.cluster.resources import MODELS
from tests.integration.operator.kit.cluster import Cluster, conditions
from tests.integration.operator.kit.proxy import trust_of

_AT_ONCE = 16
_APPLY = "application/apply-patch+yaml"
_LONGEST_LINE = 4 << 20


@dataclass
class Watch:
    """Seconds (monotonic) by Model: when it was applied, and when it was seen Ready first."""

    applied: dict[str, float] = field(default_factory=dict)
    ready: dict[str, float] = field(default_factory=dict)

    async def run(self, cluster: Cluster, count: int) -> None:
        """Until `count` Models are Ready."""
        listed = await cluster.call("GET", MODELS.path(cluster.namespace))
        query = {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
        url = cluster.server.url + MODELS.path(cluster.namespace)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=_LONGEST_LINE) as session, \
                session.get(url, params=query, ssl=trust_of(cluster.server.kubeconfig)) as answer:
            async for line in answer.content:
                self._hear(json.loads(line)["object"])
                if len(self.ready) == count:
                    return
        raise RuntimeError("the API server ended the watch of the Models")

    def waits(self) -> list[float]:
        """Seconds from being applied to being Ready, the shortest first."""
        return sorted(self.ready[name] - self.applied[name] for name in self.ready)

    def _hear(self, document: dict[str, Any]) -> None:
        if conditions(document).get("Ready", ("", ""))[0] == "True":
            self.ready.setdefault(document["metadata"]["name"], time.monotonic())


async def apply(cluster: Cluster, specs: Mapping[str, dict[str, Any]], watch: Watch) -> None:
    """By server-side apply, as many at once as the API server gets from a busy `kubectl` or a GitOps controller."""
    waiting = list(specs)[::-1]

    async def some() -> None:
        while waiting:
            name = waiting.pop()
            document = {"apiVersion": MODELS.api_version, "kind": MODELS.kind, "metadata": {"name": name},
                        "spec": specs[name]}
            watch.applied[name] = time.monotonic()
            await cluster.call("PATCH", MODELS.path(cluster.namespace, name), document, _APPLY,
                               {"fieldManager": "bench", "force": "true"})

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(some())
