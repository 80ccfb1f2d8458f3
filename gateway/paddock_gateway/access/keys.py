"""API keys: records as an operator of the cluster writes them, and the look-up of what a client sent. Pure.

A record is JSON: {"sha256": hex of the key, "namespaces": ["team-a"] or ["*"], "tenant": "…" (optional)}. Keys are long
and random, so a plain digest keeps them safe at rest.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from paddock_api.errors import Code, PaddockError

MAX_KEY = 512
ALL = "*"

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class RecordError(ValueError):
    """What is wrong with a record. It never shows what the record holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a client may do. `namespaces`: None means all. `tenant` separates the prefix caches of clients."""

    name: str
    namespaces: frozenset[str] | None
    tenant: str


ANONYMOUS = Grant(name="anonymous", namespaces=None, tenant="anonymous")


class Keys(NamedTuple):
    """All records: the good ones by name, with their digest, and what is wrong with the others."""

    grants: Mapping[str, tuple[bytes, Grant]]
    problems: Mapping[str, str]

    @property
    def configured(self) -> bool:
        """Whether somebody meant to have keys, even if none of them is usable."""
        return bool(self.grants or self.problems)


class _Record(msgspec.Struct):
    sha256: str
    namespaces: list[str]
    tenant: str | None = None


_decoder = msgspec.json.Decoder(_Record)


def read_record(name: str, content: bytes) -> tuple[bytes, Grant]:
    """The key's digest and what it grants. Raises RecordError."""
    try:
        record = _decoder.decode(content)
    except msgspec.ValidationError as error:
        raise RecordError(f"{error}; give sha256 and namespaces") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RecordError("it is not JSON") from None  # msgspec's own words could show a piece of it
    if not _SHA256.fullmatch(record.sha256):
        raise RecordError("sha256: give the 64 hex digits of the key's SHA-256 (printf %s KEY | sha256sum)")
    wrong = next((each for each in record.namespaces if each != ALL and not _NAMESPACE.fullmatch(each)), None)
    if wrong is not None:
        raise RecordError(f"namespaces: {wrong[:64]!r} is no namespace; give names, or * for all")
    tenant = name if record.tenant is None else record.tenant
    if not _WORD.fullmatch(tenant):
        raise RecordError(f"tenant: {tenant[:64]!r} must be at most 64 letters, digits and '._-'")
    everywhere = ALL in record.namespaces
    return bytes.fromhex(record.sha256), Grant(
        name=name, namespaces=None if everywhere else frozenset(record.namespaces), tenant=tenant)


def read_records(entries: Mapping[str, bytes]) -> Keys:
    """Every entry of a folder of keys; a bad one costs only itself."""
    grants, problems = dict[str, tuple[bytes, Grant]](), dict[str, str]()
    for name, content in sorted(entries.items()):
        try:
            grants[name] = read_record(name, content)
        except RecordError as error:
            problems[name] = str(error)
    return Keys(grants, problems)


class KeyRing:
    """Who a client is, by what it sends. Deny by default: `open_` is true only where everybody may come in."""

    def __init__(self, keys: Keys, *, open_: bool) -> None:
        self.open = open_
        # Looked up by a keyed hash that nobody else can compute: how long a look-up takes tells nothing of the keys.
        self._blind = secrets.token_bytes(32)
        self._grants = {self._hidden(digest): (digest, grant) for digest, grant in keys.grants.values()}

    def admit(self, authorization: list[bytes]) -> Grant:
        """`authorization`: the values of all such headers. Raises PaddockError INVALID_API_KEY or FORBIDDEN."""
        if self.open and not self._grants:
            return ANONYMOUS
        digest = hashlib.sha256(_presented(authorization)).digest()
        known, grant = self._grants.get(self._hidden(digest), (b"", None))
        if grant is None or not hmac.compare_digest(known, digest):
            raise PaddockError(Code.INVALID_API_KEY, "The API key is not valid: ask whoever runs this service for one.")
        if grant.namespaces is not None and not grant.namespaces:
            raise PaddockError(Code.FORBIDDEN, "The API key may use no namespace: its record must name some.")
        return grant

    def _hidden(self, digest: bytes) -> bytes:
        return hmac.digest(self._blind, digest, "sha256")


def _presented(authorization: list[bytes]) -> bytes:
    if len(authorization) > 1:
        raise PaddockError(Code.INVALID_API_KEY, "The request has more than one Authorization header: send one.")
    scheme, _, key = (authorization[0] if authorization else b"").partition(b" ")
    key = key.strip()
    if scheme.lower() != b"bearer" or not 0 < len(key) <= MAX_KEY:
        raise PaddockError(Code.INVALID_API_KEY, "You did not send an API key: send it as Authorization: Bearer KEY.")
    return key
