"""Tokens for model hubs, each for the origin of its own endpoint and for nobody else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_runtime.store.addresses import port_of

_MAX_BYTES = 16 << 10
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_PARAM = "source.huggingFace.credential"


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int


def origin_of(url: httpx.URL) -> Origin:
    return Origin(url.scheme, url.host.lower(), port_of(url))


class Credentials:
    """A folder for each credential, with the files `token` and `endpoint` (without one: `default_endpoint`).

    Files are read when a token is needed, so that a rotated Secret counts from the next request on.
    """

    def __init__(self, folder: Path, default_endpoint: str) -> None:
        self._folder = folder
        self._default = default_endpoint

    def token_for(self, name: str, url: httpx.URL) -> str | None:
        """The token of the credential `name`, None if `url` is not at its endpoint.

        Raises PaddockError SOURCE_UNAVAILABLE when there is no such credential or it can't be used; the message never
        shows the token."""
        token = self._read(name, "token")
        if not token:
            raise PaddockError(
                Code.SOURCE_UNAVAILABLE, f"the credential {name!r} is not in this pod: see the pool's spec.credentials "
                "and whether its Secret has the key", param=_PARAM)
        if _TOKEN.fullmatch(token) is None:
            raise PaddockError(Code.SOURCE_UNAVAILABLE, f"the token of the credential {name!r} holds spaces, line "
                               "breaks or other characters that no token has: correct its Secret", param=_PARAM)
        return token if origin_of(url) == self._endpoint(name) else None

    def _endpoint(self, name: str) -> Origin:
        text = self._read(name, "endpoint") or self._default
        try:
            return origin_of(httpx.URL(text))
        except (httpx.InvalidURL, ValueError):
            raise PaddockError(Code.SOURCE_UNAVAILABLE, f"the endpoint of the credential {name!r} is not a URL: "
                               "correct the pool's spec.credentials", param=_PARAM) from None

    def _read(self, name: str, file: str) -> str:
        """What the file says without white space around it; empty if there is none."""
        if "/" in name or name in ("", ".", ".."):
            return ""
        try:
            with open(self._folder / name / file, encoding="utf-8") as opened:
                return opened.read(_MAX_BYTES).strip()
        except (OSError, UnicodeDecodeError):
            return ""
