"""Lists and watches of the API server, as bytes. Every call has a deadline; nothing is retried here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

CONNECT_SECONDS = 10.0
LIST_SECONDS = 60.0
_MAX_COMPLAINT = 2000


class ApiProblem(Exception):
    """The API server refused. `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


class Api(Protocol):
    async def get(self, path: str, query: dict[str, str]) -> bytes:
        """The whole answer. Raises ApiProblem, aiohttp.ClientError, TimeoutError, OSError."""
        ...

    def stream(self, path: str, query: dict[str, str], *, silence: float) -> AsyncGenerator[bytes, None]:
        """The answer as it comes; ends when the server ends it. Raises as `get`, TimeoutError after `silence` seconds
        without a byte."""
        ...


class KubernetesApi:
    """`kubeconfig` None: the account of the pod that this runs in."""

    def __init__(self, kubeconfig: Path | None) -> None:
        self._kubeconfig = kubeconfig
        self._client: ApiClient | None = None

    async def get(self, path: str, query: dict[str, str]) -> bytes:
        limits = aiohttp.ClientTimeout(total=LIST_SECONDS, connect=CONNECT_SECONDS)
        async with self._open(path, query, limits) as response:
            return await response.read()

    async def stream(self, path: str, query: dict[str, str], *, silence: float) -> AsyncGenerator[bytes, None]:
        limits = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=silence)
        async with self._open(path, query, limits) as response:
            async for chunk in response.content.iter_any():
                yield chunk

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()  # type: ignore[no-untyped-call]  # the client has no types here and below

    @asynccontextmanager
    async def _open(self, path: str, query: dict[str, str],
                    limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            client = await self._connected()
            method, url, headers, *_ = await client.param_serialize(
                "GET", path, query_params=list(query.items()), header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"])
        except config.ConfigException as error:  # the file of an account may be there, or whole, a moment later
            raise OSError(f"the account for the API server can't be used: {error}") from error
        answer = await client.call_api(method, url, headers, _request_timeout=limits)
        response = answer.response
        try:
            if response.status != 200:
                if response.status == 401:
                    await self.close()  # the account's token may have been renewed: read it anew
                text = (await response.content.read(_MAX_COMPLAINT)).decode(errors="replace")
                raise ApiProblem(response.status, text)
            yield response
        finally:
            _cut(response)

    async def _connected(self) -> ApiClient:
        if self._client is None:
            settings = Configuration()
            if self._kubeconfig is None:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    str(self._kubeconfig), client_configuration=settings, persist_config=False)
            self._client = ApiClient(settings)
        return self._client


def _cut(response: aiohttp.ClientResponse) -> None:
    """Ends an answer at once that was not read to its end. A TLS connection that is closed politely stays open until
    the other side says goodbye, which one that hangs does not: it would outlast the gateway's loop."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
