"""The Lease as an object: what others say of it stays when it is renewed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from paddock_operator.cluster.lease import LeaseObject
from paddock_operator.cluster.reader import Reader
from paddock_operator.cluster.resources import Object
from paddock_operator.cluster.sender import Sender
from paddock_operator.election import Record

# As Helm marks what is its own; it deletes nothing else.
HELMS = {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "paddock"}}


class Server:
    """Keeps one object, and replaces it whole as the real one does."""

    def __init__(self, stored: Object | None) -> None:
        self.stored = stored

    async def get(self, *_: Any) -> Object | None:
        return self.stored

    async def send(self, *_: Any, body: Object, **__: Any) -> Object:
        before = self.stored["metadata"]["resourceVersion"] if self.stored is not None else 0
        self.stored = {**body, "metadata": {**body["metadata"], "resourceVersion": str(int(before) + 1)}}
        return self.stored


def lease(server: Server) -> LeaseObject:
    return LeaseObject(cast(Reader, server), cast(Sender, server), "paddock-system", "paddock-operator")


def others(server: Server) -> Object:
    assert server.stored is not None
    return {name: value for name, value in server.stored["metadata"].items() if name in HELMS}


async def test_renewals_keep_what_others_say_of_it() -> None:
    server = Server({"metadata": {"name": "paddock-operator", "resourceVersion": "7", **HELMS}})
    port = lease(server)
    record = await port.read()
    assert record is not None
    for number in range(3):
        record = await port.write(replace(record, holder="op-0", duration=15.0, renewed=float(number)), within=1.0)
        assert others(server) == HELMS
    assert record.version == "10"


async def test_one_that_is_made_here_says_nothing_of_others() -> None:
    server = Server(None)
    port = lease(server)
    assert await port.read() is None
    record = await port.write(Record(holder="op-0", duration=15.0), within=1.0)
    assert (record.version, others(server)) == ("1", {})
