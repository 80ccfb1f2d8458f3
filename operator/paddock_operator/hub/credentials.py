"""Tokens for hubs: each is sent to the origin of its own endpoint and to nobody else."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

import httpx

from paddock_api.errors import Code, PaddockError
from paddock_operator.hub.urls import origin_of

PARAM = "source.huggingFace.credential"
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(frozen=True)
class Credential:
    """`token`: as the Secret has it; white space around it is no part of it. `endpoint`: the hub that it is for;
    None: the operator's own (PADDOCK_HF_ENDPOINT)."""

    token: str = field(repr=False)
    endpoint: str | None = None


@dataclass(frozen=True)
class Access:
    """A hub as one pool may use it. `fingerprint` keeps apart, in caches, what different tokens were shown."""

    endpoint: httpx.URL
    token: str | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        return "" if self.token is None else hashlib.sha256(self.token.encode()).hexdigest()

    def headers_for(self, url: httpx.URL) -> dict[str, str]:
        """What to send along to this URL."""
        if self.token is None or origin_of(url) != origin_of(self.endpoint):
            return {}
        return {"Authorization": f"Bearer {self.token}"}


def token_of(name: str, credential: Credential) -> str:
    """Raises PaddockError SOURCE_REFUSED for what can't be a token; the message never shows it."""
    token = credential.token.strip()
    if _TOKEN.fullmatch(token) is None:
        raise PaddockError(Code.SOURCE_REFUSED, f"the token of the credential {name!r} is empty or holds spaces, line "
                           "breaks or other characters that no token has: correct its Secret", param=PARAM)
    return token
