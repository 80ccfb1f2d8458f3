"""The stream of a job that was refused at the door."""

from __future__ import annotations

from collections.abc import AsyncIterator

from paddock_api.errors import PaddockError
from paddock_runtime.jobs import Output


class Refused:
    """A jobs.Stream that holds nothing but an error."""

    def __init__(self, error: PaddockError) -> None:
        self._error = error

    def __aiter__(self) -> AsyncIterator[Output]:
        return self

    @property
    def ready(self) -> bool:
        return True

    async def __anext__(self) -> Output:
        raise self._error

    async def aclose(self) -> None:
        pass
