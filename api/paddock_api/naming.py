"""What a client's `model` means: one rule for gateways and pods."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId

MAX_REQUESTED = 512  # longer than any namespace/name can be
_MAX_LISTED = 5


class Named(NamedTuple):
    """A Model and its further names."""

    id: ModelId
    aliases: tuple[str, ...] = ()


class NameIndex:
    """Names → Models. Build a new one when Models change; a look-up is a dictionary access.

    `namespace/name` is always exact. A bare name stands, in each namespace, for the Model of that name, else for the
    Models that have it as an alias. If more than one Model is left over all allowed namespaces, it is ambiguous.
    """

    def __init__(self, models: Iterable[Named]) -> None:
        known = list(models)
        self._exact = {named.id for named in known}
        self._names: dict[str, list[ModelId]] = {}
        self._aliases: dict[str, list[ModelId]] = {}
        for named in known:
            self._names.setdefault(named.id.name, []).append(named.id)
            for alias in set(named.aliases):
                self._aliases.setdefault(alias, []).append(named.id)

    def resolve(self, name: str, allowed: Collection[str] | None = None) -> ModelId:
        """The Model that `name` means among the namespaces `allowed` (None: all).

        Raises PaddockError MODEL_NOT_FOUND or AMBIGUOUS_MODEL; neither tells of namespaces that are not allowed."""
        found = self.candidates(name, allowed)
        if len(found) == 1:
            return found[0]
        shown = _quoted(name)
        if not found:
            raise PaddockError(Code.MODEL_NOT_FOUND, param="model", message=(
                f"The model {shown} does not exist or you do not have access to it; GET /v1/models lists what you can "
                "use."))
        listed = ", ".join(str(model) for model in found[:_MAX_LISTED])
        more = f" and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
        raise PaddockError(Code.AMBIGUOUS_MODEL, param="model", message=(
            f"The name {shown} stands for several models: {listed}{more}. Ask for one of them as namespace/name."))

    def candidates(self, name: str, allowed: Collection[str] | None = None) -> list[ModelId]:
        """All Models that `name` can mean, in order."""
        if "/" in name:
            namespace, _, bare = name.partition("/")
            model = ModelId(namespace, bare)
            return [model] if model in self._exact and _may(namespace, allowed) else []
        named = [model for model in self._names.get(name, ()) if _may(model.namespace, allowed)]
        taken = {model.namespace for model in named}
        also = [model for model in self._aliases.get(name, ())
                if _may(model.namespace, allowed) and model.namespace not in taken]
        return sorted(named + also)


def _may(namespace: str, allowed: Collection[str] | None) -> bool:
    return allowed is None or namespace in allowed


def _quoted(name: str) -> str:
    return repr(name if len(name) <= MAX_REQUESTED else name[:64] + "…")
