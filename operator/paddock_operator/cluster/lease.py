"""The Lease of the operator, read and written with its resourceVersion: of two who write at once one gets Conflict."""

from __future__ import annotations

from datetime import datetime

from paddock_operator.clock import micro_timestamp
from paddock_operator.cluster.reader import Reader
from paddock_operator.cluster.resources import LEASES, Object
from paddock_operator.cluster.sender import Sender
from paddock_operator.election import Record

# What others say of the object, such as that it is part of a release: a replacement without it would take it away.
_OTHERS = ("labels", "annotations", "ownerReferences", "finalizers")


class LeaseObject:
    def __init__(self, reader: Reader, sender: Sender, namespace: str, name: str) -> None:
        self._reader = reader
        self._sender = sender
        self._namespace = namespace
        self._name = name
        self._last: Object = {"metadata": {}}

    async def read(self) -> Record | None:
        """None when there is no Lease yet. Raises ApiError."""
        found = await self._reader.get(LEASES, self._namespace, self._name)
        if found is None:
            return None
        self._last = found
        return record_of(found)

    async def write(self, record: Record, *, within: float) -> Record:
        """Creates it when `record` has no version yet, else replaces that very version. Raises Conflict,
        AlreadyExists and other ApiErrors."""
        document = document_of(record, self._namespace, self._name)
        if record.version is None:
            answer = await self._sender.send("create", LEASES, "POST", LEASES.path(self._namespace), body=document,
                                             within=within)
        else:
            document["metadata"] |= self._of_others(record.version)
            answer = await self._sender.send("update", LEASES, "PUT", LEASES.path(self._namespace, self._name),
                                             body=document, within=within)
        self._last = answer
        return record_of(answer)

    def _of_others(self, version: str) -> Object:
        metadata = self._last["metadata"]
        if metadata.get("resourceVersion") != version:
            return {}  # a conflict: somebody wrote it meanwhile
        return {name: metadata[name] for name in _OTHERS if name in metadata}


def record_of(document: Object) -> Record:
    spec = document.get("spec") or {}
    return Record(
        holder=spec.get("holderIdentity") or "", duration=float(spec.get("leaseDurationSeconds") or 0),
        acquired=_seconds(spec.get("acquireTime")), renewed=_seconds(spec.get("renewTime")),
        transitions=int(spec.get("leaseTransitions") or 0), version=document["metadata"].get("resourceVersion"))


def document_of(record: Record, namespace: str, name: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    if record.version is not None:
        metadata["resourceVersion"] = record.version
    return {
        "apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata,
        "spec": {"holderIdentity": record.holder, "leaseDurationSeconds": max(1, round(record.duration)),
                 "acquireTime": micro_timestamp(record.acquired), "renewTime": micro_timestamp(record.renewed),
                 "leaseTransitions": record.transitions}}


def _seconds(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
