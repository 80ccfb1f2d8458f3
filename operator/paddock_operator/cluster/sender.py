"""The one place that every write passes: counted, and with a failpoint before and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paddock_operator.cluster.client import JSON, ApiServer
from paddock_operator.cluster.errors import ApiError
from paddock_operator.cluster.failpoints import Failpoints
from paddock_operator.cluster.resources import Object, Resource

# verb, plural (with `-status` for the subresource), outcome: `ok` or a word for the refusal
Observer = Callable[[str, str, str], None]


class Sender:
    def __init__(self, api: ApiServer, failpoints: Failpoints, observe: Observer) -> None:
        self._api = api
        self._failpoints = failpoints
        self._observe = observe

    async def send(self, verb: str, resource: Resource, method: str, path: str, *, within: float,
                   query: Mapping[str, str] | None = None, body: Object | None = None,
                   content_type: str = JSON, suffix: str = "") -> Object:
        """The answer's document. Raises ApiError."""
        kind = resource.plural + suffix
        self._failpoints.passed(f"before-{verb}-{kind}")
        try:
            answer = await self._api.request(method, path, query=query, body=body, content_type=content_type,
                                             within=within)
        except ApiError as error:
            self._observe(verb, kind, error.word)
            raise
        self._observe(verb, kind, "ok")
        self._failpoints.passed(f"after-{verb}-{kind}")
        return answer
