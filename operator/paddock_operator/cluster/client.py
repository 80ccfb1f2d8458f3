"""One connection pool to the API server; raw requests, since the operator's objects are plain documents."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from paddock_operator.cluster.account import Connection, authorization, configure, connection
from paddock_operator.cluster.errors import Unavailable, error_of
from paddock_operator.cluster.resources import Object

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

_CONNECTIONS = 32

# Monotonic seconds after which the request of this task must no longer leave the process.
_latest: ContextVar[float] = ContextVar("latest")


async def _not_too_late(*_: object) -> None:
    """Just before bytes go out: a process that was frozen while it waited for a connection wakes up right there, before
    any timer tells it how late it is."""
    if time.monotonic() > _latest.get(float("inf")):
        raise aiohttp.ClientError("the time for this request was over before it was sent")


def _punctual() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_not_too_late)
    trace.on_request_chunk_sent.append(_not_too_late)
    return trace


class ApiServer:
    """`recoveries` counts how often it answered again after it had not."""

    def __init__(self, configuration: Configuration) -> None:
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.retries = 0
        configuration.trace_configs = [_punctual()]
        self._client = ApiClient(configuration)
        self.recoveries = 0
        self._silent = False

    async def connection(self) -> Connection:
        """As of now: a service account's token changes while the process runs."""
        return await connection(self._client.configuration)

    async def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None,
                      body: Object | None = None, content_type: str = JSON, within: float = 30.0) -> Object:
        """The answer's document. Raises ApiError; Unavailable also when no answer came within `within` seconds."""
        url = f"{self._client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers: dict[str, Any] = {"Accept": JSON, "User-Agent": "paddock-operator", "Content-Type": content_type}
        _latest.set(time.monotonic() + within)
        try:
            header = await authorization(self._client.configuration)
            if header is not None:
                headers["Authorization"] = header
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]  # the client has no types
                method, url, headers=headers, body=body, _request_timeout=aiohttp.ClientTimeout(total=within))
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._silent = True
            raise Unavailable(0, "NoAnswer", f"{method} {path}: {str(error) or type(error).__name__}") from error
        if self._silent:
            self._silent = False
            self.recoveries += 1
        if not 200 <= response.status < 300:
            raise error_of(response.status, data, response.getheader("Retry-After"))
        document: Object = json.loads(data) if data else {}
        return document

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]  # the client has no types


async def connect(kubeconfig: str | None, context: str | None = None) -> ApiServer:
    """By `kubeconfig`, else as the pod's service account. Raises NoCluster."""
    return ApiServer(await configure(kubeconfig, context=context))
