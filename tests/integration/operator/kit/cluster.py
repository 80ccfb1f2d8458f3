"""The test's own view of the API server, as an administrator; and what the tests write."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from paddock_operator.cluster.resources import (
    CONFIG_MAPS,
    DISRUPTION_BUDGETS,
    EVENTS,
    LEASES,
    MODELS,
    NAMESPACES,
    PODS,
    POOLS,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from tests.cluster.apiserver import ApiServer
from tests.integration.operator.kit.proxy import trust_of

Object = dict[str, Any]
OURS = (MODELS, POOLS, CONFIG_MAPS, SECRETS, SERVICES, STATEFUL_SETS, DISRUPTION_BUDGETS, PODS, EVENTS, LEASES)
MANAGED = "app.kubernetes.io/managed-by=paddock-operator"
_KEPT = {"kube-root-ca.crt"}


class Refused(Exception):
    def __init__(self, status: int, document: Object) -> None:
        super().__init__(f"{status}: {document.get('message')}")
        self.status = status
        self.document = document


class Cluster:
    def __init__(self, server: ApiServer, session: aiohttp.ClientSession, namespace: str) -> None:
        self.server = server
        self.namespace = namespace
        self._session = session
        self._trust = trust_of(server.kubeconfig)

    async def call(self, method: str, path: str, body: Object | None = None, content_type: str = "application/json",
                   query: dict[str, str] | None = None) -> Object:
        headers = {"Content-Type": content_type}
        async with self._session.request(method, self.server.url + path, json=None, headers=headers, params=query or {},
                                         data=None if body is None else json.dumps(body), ssl=self._trust) as answer:
            document = await answer.json()
        if answer.status >= 300:
            raise Refused(answer.status, document)
        return dict(document)

    async def create(self, resource: Resource, document: Object, namespace: str | None = None) -> Object:
        document = {"apiVersion": resource.api_version, "kind": resource.kind, **document}
        return await self.call("POST", resource.path(namespace or self.namespace), document)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        try:
            return await self.call("GET", resource.path(namespace or self.namespace, name))
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def list(self, resource: Resource, namespace: str | None = None, **query: str) -> list[Object]:
        return list((await self.call("GET", resource.path(namespace), query=query))["items"])

    async def merge(self, resource: Resource, name: str, change: Object, subresource: str | None = None,
                    namespace: str | None = None) -> Object:
        return await self.call("PATCH", resource.path(namespace or self.namespace, name, subresource), change,
                               "application/merge-patch+json")

    async def delete(self, resource: Resource, name: str, namespace: str | None = None) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        await self.call("DELETE", resource.path(namespace or self.namespace, name), body)

    async def make_namespace(self, name: str, **labels: str) -> None:
        await self.create(NAMESPACES, {"metadata": {"name": name, "labels": labels}})

    async def served(self) -> None:
        """Returns when the custom resources can be read: right after they are defined they can't."""
        async def listed() -> bool:
            try:
                return all([await self.list(kind) is not None for kind in (MODELS, POOLS)])
            except Refused as error:
                if error.status not in (404, 429):
                    raise
                return False

        await until(listed)

    async def wipe(self) -> None:
        """Everything that tests and operators made, in all namespaces: nobody collects garbage here."""
        for resource in OURS:
            for each in await self.list(resource):
                metadata = each["metadata"]
                if metadata["namespace"].startswith("kube-") or metadata["name"] in _KEPT \
                        or metadata["namespace"] == "default":
                    continue
                await self.delete(resource, metadata["name"], metadata["namespace"])

    async def objects(self) -> dict[str, Object]:
        """All that the operator made, without what differs from run to run: kind/namespace/name → content."""
        found = {}
        for resource in (CONFIG_MAPS, SECRETS, SERVICES, STATEFUL_SETS, DISRUPTION_BUDGETS):
            for each in await self.list(resource, labelSelector=MANAGED):
                metadata = each["metadata"]
                found[f"{resource.kind}/{metadata['namespace']}/{metadata['name']}"] = _stable(each)
        for resource in (MODELS, POOLS):
            for each in await self.list(resource):
                metadata = each["metadata"]
                found[f"{resource.kind}/{metadata['namespace']}/{metadata['name']}"] = _status(each)
        for each in await self.list(EVENTS):
            told = f"Event/{each['involvedObject']['kind']}/{each['involvedObject']['name']}/{each['reason']}"
            found[told] = {"count": found.get(told, {}).get("count", 0) + each["count"], "message": each["message"]}
        return found


def _stable(document: Object) -> Object:
    found = copy.deepcopy(document)
    metadata = found["metadata"]
    for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
        metadata.pop(name, None)
    for owner in metadata.get("ownerReferences", ()):
        owner.pop("uid")
    metadata.get("annotations", {}).pop("paddock.dev/applied", None)
    metadata.get("annotations", {}).pop("paddock.dev/revision-time", None)
    found.pop("status", None)
    return found


def _status(document: Object) -> Object:
    status = copy.deepcopy(document.get("status") or {})
    for each in status.get("conditions", ()):
        each.pop("lastTransitionTime")
    return dict(status)


async def until(what: Callable[[], Any], patience: float = 60.0, every: float = 0.1) -> Any:
    """The first true value of `what`, awaited if it must be. Fails with its last value."""
    deadline = time.monotonic() + patience
    while True:
        found = what()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {patience:.0f} s; last: {found!r}")
        await asyncio.sleep(every)


def pool_document(name: str = "default", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {
        "replicas": 1, "memory": "2Gi", "volumes": [{"name": "files", "emptyDir": {}}], **spec}}


def model_document(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {
        "source": {"file": {"volume": "files", "path": f"{name}.gguf"}}, **spec}}


def conditions(document: Object | None) -> dict[str, tuple[str, str]]:
    """type → (status, reason)"""
    status = (document or {}).get("status") or {}
    return {each["type"]: (each["status"], each["reason"]) for each in status.get("conditions", ())}
