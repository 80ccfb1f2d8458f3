"""Reads: single objects, and lists that are whole or not at all."""

from __future__ import annotations

from typing import NamedTuple

from paddock_operator.cluster.client import ApiServer
from paddock_operator.cluster.errors import Gone, NotFound
from paddock_operator.cluster.resources import Object, Resource

PAGE = 500
_RESTARTS = 3


class Listing(NamedTuple):
    """All objects as of `resource_version`."""

    items: list[Object]
    resource_version: str


class Reader:
    def __init__(self, api: ApiServer) -> None:
        self._api = api

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """None when there is none. Raises ApiError."""
        try:
            return await self._api.request("GET", resource.path(namespace, name))
        except NotFound:
            return None

    async def list(self, resource: Resource, *, labels: str | None = None) -> Listing:
        """Every page over all namespaces, or an ApiError: half a list would look like deletions."""
        for _ in range(_RESTARTS):
            try:
                return await self._pages(resource, labels)
            except Gone:  # the continue token expired between two pages
                continue
        return await self._pages(resource, labels)

    async def serves(self, resource: Resource) -> bool:
        """Whether the API server knows the kind: its CustomResourceDefinition may come after the operator."""
        try:
            found = await self._api.request("GET", f"/apis/{resource.group}/{resource.version}")
        except NotFound:
            return False
        return any(each.get("name") == resource.plural for each in found.get("resources", ()))

    async def _pages(self, resource: Resource, labels: str | None) -> Listing:
        query = {"limit": str(PAGE)} | ({"labelSelector": labels} if labels else {})
        items: list[Object] = []
        while True:
            page = await self._api.request("GET", resource.path(), query=query)
            # Items of a list carry neither kind nor apiVersion.
            items += [{"apiVersion": resource.api_version, "kind": resource.kind, **item}
                      for item in page.get("items") or ()]
            metadata = page.get("metadata", {})
            if not metadata.get("continue"):
                return Listing(items, str(metadata.get("resourceVersion", "")))
            query["continue"] = metadata["continue"]
