"""Owner references: what belongs to a Model or a RuntimePool goes with it."""

from __future__ import annotations

from paddock_operator.cluster.resources import Object, Resource


def owned_by(resource: Resource, name: str, uid: str) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "name": name, "uid": uid, "controller": True,
            "blockOwnerDeletion": True}


def owner_name(document: Object, resource: Resource) -> str | None:
    """The name of the owner of this kind that controls `document`."""
    for owner in document["metadata"].get("ownerReferences") or ():
        if owner.get("controller") and owner.get("kind") == resource.kind \
                and owner.get("apiVersion") == resource.api_version:
            return str(owner["name"])
    return None
