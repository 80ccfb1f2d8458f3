"""A request within its endpoint's budget and a deadline, with what can go wrong on the way in our own words."""

from __future__ import annotations

import asyncio
import ssl

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_operator.hub.budget import Budgets
from paddock_operator.hub.connect import Ask, Connector, Got
from paddock_operator.hub.errors import Unavailable
from paddock_operator.hub.urls import origin_of, shown


class Caller:
    """`deadline`: seconds that one request may take, redirects and body included."""

    def __init__(self, connector: Connector, budgets: Budgets, *, deadline: float = 45.0) -> None:
        self._connector = connector
        self._budgets = budgets
        self._deadline = deadline

    async def call(self, ask: Ask, *, bucket: str = "files", payer: httpx.URL | None = None) -> Got:
        """Any answer at all. `payer`: whose budget it is charged to, if not that of the URL's host.

        Raises Unavailable and RateLimited for what may pass, PaddockError SOURCE_REFUSED for what may not be."""
        payer = payer or ask.url
        budget = self._budgets.of(origin_of(payer))
        where = shown(ask.url)
        async with budget.turn(bucket, shown(payer.copy_with(path="/", query=None)).rstrip("/")):
            try:
                async with asyncio.timeout(self._deadline):
                    got = await self._connector.get(ask)
            except TimeoutError:
                raise Unavailable(f"{where} did not answer within {self._deadline:g} s") from None
            except httpx.TransportError as error:
                raise _fault(error, where, ask.param) from error
            except httpx.InvalidURL as error:
                raise PaddockError(Code.SOURCE_REFUSED, f"{where} leads to what is not a URL",
                                   param=ask.param) from error
            except OSError as error:
                raise Unavailable(f"the host of {where} can't be found or reached: "
                                  f"{error.strerror or 'no answer'}") from error
            budget.heed(bucket, got.status, got.headers)
        return got


def _fault(error: httpx.TransportError, where: str, param: str) -> PaddockError:
    """In our words: httpx's may quote what the server sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unavailable(f"the certificate of {where} is not trusted: {cause.verify_message}; name the CA bundle "
                               "that signs it in SSL_CERT_FILE", retry_after=300.0, param=param)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return Unavailable(f"{where} did not answer in time")
    if isinstance(error, httpx.ConnectError):
        return Unavailable(f"no connection to {where} could be made")
    return Unavailable(f"the connection to {where} was cut")
