"""Who may speak with this pod, and what a gateway says of a request beside its body.

Without a token (`paddock serve`) everybody may speak, and nobody is believed: the gateway's headers count for nothing.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from paddock_api.errors import Code, PaddockError
from paddock_api.identity import ModelId
from paddock_runtime.server.errors import error_response
from paddock_runtime.server.record import record_of

_log = logging.getLogger("paddock.server")

OPEN = frozenset({"/livez", "/readyz"})
_KEY = "paddock.trusted"
_MAX_TOKEN = 4096
_SECONDS = re.compile(rb"[0-9]{1,7}(\.[0-9]{1,9})?")
_TENANT = re.compile(rb"[\x21-\x7e]{1,256}")


class PoolToken:
    """The token in a file, read again when the file is another one. An unreadable or empty one changes nothing.

    Raises ValueError from the constructor when there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._token = b""
        self._refresh()
        if not self._token:
            raise ValueError(f"{path} holds no token")

    def matches(self, given: bytes) -> bool:
        """In a time that tells nothing of the token."""
        self._refresh()
        return hmac.compare_digest(given, self._token)

    def _refresh(self) -> None:
        try:
            found = os.stat(self._path)
            seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if seen == self._seen:
                return
            with open(self._path, "rb") as file:
                token = file.read(_MAX_TOKEN).strip()
        except OSError as error:
            if self._seen is not None:
                _log.warning("the pool's token can't be read, the last one stays: %s", error.strerror)
                self._seen = None
            return
        if token:
            self._seen, self._token = seen, token


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """What the gateway says. `model`: what the client's name stands for; `hold` and `deadline` in seconds from now."""

    model: ModelId | None = None
    tenant: str | None = None
    hold: float | None = None
    deadline: float | None = None


_NOTHING = Trusted()


def trusted_of(scope: Scope) -> Trusted:
    return cast(Trusted, scope.get(_KEY, _NOTHING))


class Guard:
    """401 for whoever lacks the token, on every route but the probes."""

    def __init__(self, app: ASGIApp, token: PoolToken | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._token is None or scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        try:
            if not self._token.matches(_bearer(scope)):
                raise PaddockError(Code.INVALID_API_KEY, "This pod speaks with its pool's gateways and operator only: "
                                   "ask the gateway.")
            scope[_KEY] = read_trusted(scope)
        except PaddockError as error:
            record_of(scope).code = error.code.value
            response = error_response(error)
            response.headers["connection"] = "close"  # nobody reads the body that may follow
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def read_trusted(scope: Scope) -> Trusted:
    """Raises PaddockError INVALID_REQUEST that names the header."""
    model = _one(scope, b"paddock-model")
    tenant = _one(scope, b"paddock-tenant")
    if tenant is not None and _TENANT.fullmatch(tenant) is None:
        raise _wrong("paddock-tenant", "a word of up to 256 printable characters")
    return Trusted(model=None if model is None else _model(model), tenant=None if tenant is None else tenant.decode(),
                   hold=_seconds(scope, "paddock-hold"), deadline=_seconds(scope, "paddock-deadline"))


def _bearer(scope: Scope) -> bytes:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    kind, _, token = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
    return token.strip() if kind.lower() == b"bearer" else b""


def _model(value: bytes) -> ModelId:
    try:
        return ModelId.parse(value.decode("ascii"))
    except ValueError:
        raise _wrong("paddock-model", "namespace/name") from None


def _seconds(scope: Scope, name: str) -> float | None:
    value = _one(scope, name.encode())
    if value is None:
        return None
    if _SECONDS.fullmatch(value) is None:
        raise _wrong(name, "seconds like 12.5")
    return float(value)


def _one(scope: Scope, name: bytes) -> bytes | None:
    values: list[bytes] = [value for header, value in scope["headers"] if header == name]
    if len(values) > 1:
        raise _wrong(name.decode(), "one value, not several")
    return values[0] if values else None


def _wrong(name: str, wanted: str) -> PaddockError:
    return PaddockError(Code.INVALID_REQUEST, f"The header {name} must be {wanted}.", param=name)
