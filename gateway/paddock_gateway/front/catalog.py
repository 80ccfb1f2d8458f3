"""`/v1/models`: what a client may ask for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from paddock_gateway.fleet.snapshot import ModelInfo, Snapshot


def list_models(snapshot: Snapshot, allowed: Collection[str] | None) -> dict[str, Any]:
    """Bare names where they are unambiguous among the namespaces `allowed` (None: all), else `namespace/name`."""
    models = [model for model in snapshot.models.values() if allowed is None or model.id.namespace in allowed]
    return {"object": "list", "data": [describe(model, _shortest(snapshot, model, allowed))
                                       for model in sorted(models, key=lambda model: model.id)]}


def find_model(snapshot: Snapshot, name: str, allowed: Collection[str] | None) -> dict[str, Any]:
    """Raises PaddockError MODEL_NOT_FOUND or AMBIGUOUS_MODEL."""
    return describe(snapshot.models[snapshot.names.resolve(name, allowed)], name)


def describe(model: ModelInfo, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": model.created, "owned_by": model.id.namespace}


def _shortest(snapshot: Snapshot, model: ModelInfo, allowed: Collection[str] | None) -> str:
    alone = snapshot.names.candidates(model.id.name, allowed) == [model.id]
    return model.id.name if alone else str(model.id)
