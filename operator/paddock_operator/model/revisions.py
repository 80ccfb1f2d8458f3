"""A Model's revisions as immutable ConfigMaps: what is kept, which was proven, what goes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import BaseModel

from paddock_api.canonical import canonical_json
from paddock_api.cluster_names import (
    ANNOTATION_REVISION_CAUSE,
    ANNOTATION_REVISION_NUMBER,
    ANNOTATION_REVISION_TIME,
    LABEL_REVISION,
    REVISION_KEY,
    revision_labels,
    revision_name,
)
from paddock_api.metadata import GROUP
from paddock_api.model import Model
from paddock_api.revision import Revision
from paddock_operator.cluster.resources import CONFIG_MAPS, MODELS, Object
from paddock_operator.objects.owner import owned_by

_MAX_CAUSE = 1024
ANNOTATION_PROVEN = f"{GROUP}/proven-at"


@dataclass(frozen=True)
class Kept:
    """One revision as stored. `proven`: when a pod had it loaded for the first time."""

    number: int
    time: str
    cause: str
    proven: str | None
    revision: Revision
    document: Object

    @property
    def id(self) -> str:
        return self.revision.id


class Plan(NamedTuple):
    """`replace`: delete this first, its content can't be changed. Then apply `write`, then delete `drop`."""

    replace: Object | None
    write: Object | None
    drop: list[Object]


class _Document(BaseModel):
    format: Literal[1]
    revision: Revision


def kept(documents: Iterable[Object], owner_uid: str, read: Callable[[Object], Kept | None]) -> list[Kept]:
    """The revisions in `documents` that belong to the Model of this uid, oldest number first. Unreadable ones are
    no revisions: what is missing is written anew. `read` is `read_kept`, or remembers what that said."""
    found = [each for document in documents if _belongs(document, owner_uid)
             if (each := read(document)) is not None]
    return sorted(found, key=lambda each: (each.number, each.id))


def last_good(revisions: Collection[Kept], wanted: str | None) -> Revision | None:
    """The proven revision to fall back to: the wanted one if it is proven, else the newest that is."""
    proven = [each for each in revisions if each.proven is not None]
    named = next((each.revision for each in proven if each.id == wanted), None)
    return named or (max(proven, key=lambda each: each.number).revision if proven else None)


def plan(model: Model, revisions: Collection[Kept], wanted: Revision, *, proven: bool, now: str, cause: str) -> Plan:
    """What to write so that `wanted` is the newest revision, marked when `proven`, within the history's limit."""
    before = next((each for each in revisions if each.id == wanted.id), None)
    newest = max((each.number for each in revisions), default=0)
    if before is None:
        number, time, why = newest + 1, now, cause
    elif before.number != newest:
        number, time, why = newest + 1, now, f"back to revision {before.number}"
    else:
        number, time, why = before.number, before.time, before.cause
    mark = before.proven if before is not None and before.proven is not None else now if proven else None
    document = build(model, wanted, number=number, time=time, cause=why, proven=mark)
    changed = before is not None and before.document.get("data") != document["data"]
    same = before is not None and not changed and (before.number, before.proven) == (number, mark)
    good = wanted if mark is not None else last_good(revisions, wanted.id)
    return Plan(before.document if before is not None and changed else None, None if same else document,
                _outdated(model, revisions, wanted.id, good=good))


def cause_of(model: Model, before: Kept | None, wanted: Revision) -> str:
    """What made a new revision: what its author says, else what differs from the one before."""
    said = model.metadata.annotations.get("kubernetes.io/change-cause")
    if said:
        return said[:_MAX_CAUSE]
    if before is None:
        return "created"
    if before.revision.spec == wanted.spec:
        commit = wanted.resolution.commit
        return f"the source moved to commit {commit}" if commit else "the source changed"
    return "the spec changed"


def build(model: Model, revision: Revision, *, number: int, time: str, cause: str, proven: str | None) -> Object:
    name = model.metadata.name
    annotations = {ANNOTATION_REVISION_NUMBER: str(number), ANNOTATION_REVISION_TIME: time,
                   ANNOTATION_REVISION_CAUSE: cause}
    if proven is not None:
        annotations[ANNOTATION_PROVEN] = proven
    content = canonical_json({"format": 1, "revision": revision.model_dump(mode="json")})
    return {
        "apiVersion": CONFIG_MAPS.api_version, "kind": CONFIG_MAPS.kind,
        "metadata": {"name": revision_name(name, revision.id), "namespace": model.metadata.namespace,
                     "labels": revision_labels(name, revision.id), "annotations": annotations,
                     "ownerReferences": [owned_by(MODELS, name, model.metadata.uid or "")]},
        "immutable": True,
        "data": {REVISION_KEY: content.decode()},
    }


def _outdated(model: Model, revisions: Collection[Kept], wanted: str, good: Revision | None) -> list[Object]:
    """Beyond the limit, oldest first; never the wanted one, nor the one to fall back to."""
    in_use = {wanted} | ({good.id} if good is not None else set())
    old = sorted((each for each in revisions if each.id not in in_use), key=lambda each: each.number)
    beyond = len(old) - model.spec.revision_history_limit
    return [each.document for each in old[:max(0, beyond)]]


def _belongs(document: Object, owner_uid: str) -> bool:
    metadata = document["metadata"]
    owners = metadata.get("ownerReferences") or ()
    return metadata.get("deletionTimestamp") is None and any(owner.get("uid") == owner_uid for owner in owners)


def read_kept(document: Object) -> Kept | None:
    """None for what is no revision."""
    metadata = document["metadata"]
    annotations = metadata.get("annotations") or {}
    try:
        number = int(annotations.get(ANNOTATION_REVISION_NUMBER, ""))
        revision = _content(document)
    except ValueError:
        return None
    if revision.id != (metadata.get("labels") or {}).get(LABEL_REVISION):
        return None
    return Kept(number, annotations.get(ANNOTATION_REVISION_TIME, ""), annotations.get(ANNOTATION_REVISION_CAUSE, ""),
                annotations.get(ANNOTATION_PROVEN), revision, document)


def _content(document: Object) -> Revision:
    """Raises ValueError; pydantic's errors are some."""
    text = (document.get("data") or {}).get(REVISION_KEY)
    if not isinstance(text, str):
        raise ValueError(f"it has no {REVISION_KEY}")
    return _Document.model_validate_json(text).revision
