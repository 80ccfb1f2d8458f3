"""All writes of the operator but the Lease's. Each asks first whether this process still leads, and must end before the
lease could be another's: a leader that was frozen or cut off writes nothing when it comes back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Protocol

from paddock_api.cluster_names import FIELD_MANAGER, STATUS_FIELD_MANAGER
from paddock_operator.cluster.client import APPLY, MERGE
from paddock_operator.cluster.errors import AlreadyExists, NotFound
from paddock_operator.cluster.resources import Object, Resource
from paddock_operator.cluster.sender import Sender


class Guard(Protocol):
    """Who says whether this process may write."""

    def write_timeout(self) -> float:
        """Seconds that a write which starts now may take. Raises NotLeader."""
        ...


class Memory(Protocol):
    """Who remembers the objects: what was just written is known before any watch tells."""

    def learn(self, resource: Resource, document: Object) -> None: ...

    def gone(self, resource: Resource, document: Object) -> None: ...


class Writer:
    """Objects are documents with apiVersion, kind and metadata. All methods raise ApiError and NotLeader.

    An object that carries metadata.resourceVersion is written only if nobody changed it since (else Conflict)."""

    def __init__(self, sender: Sender, guard: Guard, memory: Memory) -> None:
        self._sender = sender
        self._guard = guard
        self._memory = memory

    async def apply(self, resource: Resource, document: Object) -> Object:
        """Server-side apply: creates or changes the fields in `document`, removes those that an earlier apply had."""
        namespace, name = _id(document)
        return self._known(resource, await self._sender.send(
            "apply", resource, "PATCH", resource.path(namespace, name), body=document, content_type=APPLY,
            query={"fieldManager": FIELD_MANAGER, "force": "true"}, within=self._guard.write_timeout()))

    async def apply_status(self, resource: Resource, document: Object) -> Object:
        namespace, name = _id(document)
        return self._known(resource, await self._sender.send(
            "apply", resource, "PATCH", resource.path(namespace, name, "status"), body=document, content_type=APPLY,
            query={"fieldManager": STATUS_FIELD_MANAGER, "force": "true"}, within=self._guard.write_timeout(),
            suffix="-status"))

    async def create(self, resource: Resource, document: Object) -> Object | None:
        """None when an object of that name is there."""
        namespace, _ = _id(document)
        try:
            return self._known(resource, await self._sender.send(
                "create", resource, "POST", resource.path(namespace), body=document,
                query={"fieldManager": FIELD_MANAGER}, within=self._guard.write_timeout()))
        except AlreadyExists:
            return None

    async def annotate(self, resource: Resource, document: Object, annotations: Mapping[str, str]) -> Object:
        """Sets annotations of just this object (by its uid), which others own."""
        namespace, name = _id(document)
        metadata = document["metadata"]
        return self._known(resource, await self._sender.send(
            "annotate", resource, "PATCH", resource.path(namespace, name), content_type=MERGE,
            body={"metadata": {"uid": metadata["uid"], "annotations": dict(annotations)}},
            query={"fieldManager": FIELD_MANAGER}, within=self._guard.write_timeout()))

    async def delete(self, resource: Resource, document: Object) -> None:
        """Deletes just this object, by its uid. None there is as good."""
        namespace, name = _id(document)
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
                "preconditions": {"uid": document["metadata"]["uid"]}}
        with contextlib.suppress(NotFound):
            await self._sender.send("delete", resource, "DELETE", resource.path(namespace, name), body=body,
                                    within=self._guard.write_timeout())
        self._memory.gone(resource, document)

    def _known(self, resource: Resource, answer: Object) -> Object:
        self._memory.learn(resource, answer)
        return answer


def _id(document: Object) -> tuple[str, str]:
    metadata = document["metadata"]
    return metadata["namespace"], metadata["name"]
