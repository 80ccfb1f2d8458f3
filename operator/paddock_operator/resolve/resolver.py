"""A source becomes pinned commit, files, digests and facts, by its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from paddock_api.errors import Code, PaddockError
from paddock_api.pool_storage import DEFAULT_ENDPOINT
from paddock_api.source import Source
from paddock_operator.hub.budget import Budgets
from paddock_operator.hub.call import Caller
from paddock_operator.hub.client import HubClient
from paddock_operator.hub.connect import Connector
from paddock_operator.hub.credentials import Credential
from paddock_operator.hub.urls import origin_of
from paddock_operator.resolve.header import HeaderReader
from paddock_operator.resolve.http import Http
from paddock_operator.resolve.hugging_face import HuggingFace, check_endpoint
from paddock_operator.resolve.resolved import Pin, Resolved
from paddock_operator.resolve.volume import on_volume


class Resolver:
    """For one event loop and the life of a process: it keeps connections, budgets, and what it learnt.

    `endpoint`: the hub of sources that name no credential (PADDOCK_HF_ENDPOINT). `allow_hosts`: hosts, as `host` or
    `host:port`, that sources may reach although they are private (PADDOCK_ALLOWED_HOSTS). `deadline`: seconds for one
    request. Raises PaddockError SOURCE_REFUSED when the endpoint is no URL."""

    def __init__(
        self, *, endpoint: str = DEFAULT_ENDPOINT, allow_hosts: Iterable[str] = (), deadline: float = 45.0,
        connector: Connector | None = None, budgets: Budgets | None = None,
    ) -> None:
        at = check_endpoint(endpoint, "PADDOCK_HF_ENDPOINT")
        allowed = frozenset(host.strip().lower() for host in allow_hosts if host.strip())
        origin = origin_of(at)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        self._connector = connector or Connector()
        caller = Caller(self._connector, budgets or Budgets(), deadline=deadline)
        # Whoever runs the operator vouches for its hub; no http source may reach it for that.
        hub_hosts = allowed | {f"{host}:{origin.port}"}
        self._hugging_face = HuggingFace(HubClient(caller, allow_hosts=hub_hosts), HeaderReader(), endpoint=at,
                                         allow_hosts=hub_hosts)
        # With readers of its own: servers of strangers that answer slowly don't hold up the hub's files.
        self._http = Http(caller, HeaderReader(), allow_hosts=allowed)

    async def resolve(
        self, source: Source, *, pinned: Pin | None, follow: bool, credentials: Mapping[str, Credential]
    ) -> Resolved:
        """What the source stands for.

        `pinned`: what this very source (unchanged since) was resolved to; with it nothing is asked but, when it has no
        `header`, that. `follow`: a branch is looked up again, and its newer commit taken. `credentials`: the pool's, by
        name, at least the one that the source names.

        Raises PaddockError. SOURCE_UNAVAILABLE may pass: ask again after `retry_after`. SOURCE_NOT_FOUND,
        SOURCE_REFUSED and INVALID_MODEL_FILE last until the spec changes, unless they have a `retry_after`: then what
        is missing may appear outside the cluster, and another look is worth it by then. Kinds of a hub's refusals:
        `paddock_operator.hub.errors`."""
        if source.hugging_face is not None:
            return await self._hugging_face.resolve(source.hugging_face, pinned=pinned, follow=follow,
                                                    credentials=credentials)
        if source.http is not None:
            return await self._http.resolve(source.http, pinned=pinned)
        if source.file is not None:
            return on_volume(source.file)
        raise PaddockError(Code.SOURCE_REFUSED, "entries of a ModelHub's catalog can't be resolved yet: name the "
                           "repository in source.huggingFace", param="source.hub")

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._connector.aclose()
