"""The words that conditions and events use for programs, and the form of what they tell people."""

from __future__ import annotations

import re
from enum import StrEnum

from paddock_api.errors import Code

MAX_MESSAGE = 1000


class Reason(StrEnum):
    # whether the Model may run where it wants to
    INVALID_SPEC = "InvalidSpec"
    POOL_NOT_FOUND = "PoolNotFound"
    POOL_NOT_ALLOWED = "PoolNotAllowed"
    POOL_EMPTY = "PoolEmpty"
    VOLUME_NOT_FOUND = "VolumeNotFound"
    CREDENTIAL_NOT_FOUND = "CredentialNotFound"
    # its source
    RESOLVED = "Resolved"
    RESOLVING = "Resolving"
    # whether it serves
    SERVABLE = "Servable"
    CANNOT_FIT = "CannotFit"
    LAST_GOOD_SERVES = "LastGoodServes"
    AS_WANTED = "AsWanted"
    NOT_SERVABLE = "NotServable"
    # what the pods do with it
    NO_REPORT = "NoReport"
    NOT_CACHED = "NotCached"
    FETCHING = "Fetching"
    CACHED = "Cached"
    NOT_LOADED = "NotLoaded"
    LOADING = "Loading"
    LOADED = "Loaded"
    UNLOADING = "Unloading"
    IDLE = "Idle"
    EVICTED = "Evicted"
    NO_ROOM = "NoRoom"


_SPECIAL = {Code.NO_FIT.value: Reason.CANNOT_FIT.value}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def of_code(code: str) -> str:
    """`checksum_mismatch` as conditions write it: ChecksumMismatch. What is no such word becomes Failed."""
    if code in _SPECIAL:
        return _SPECIAL[code]
    words = re.findall(r"[A-Za-z0-9]+", code)[:8]
    return "".join(word.capitalize() for word in words)[:80] or "Failed" if code[:1].isalpha() else "Failed"


def plain(text: str) -> str:
    """Somebody else's text on one line, without control characters, and bounded."""
    cleaned = _CONTROL.sub(" ", text).strip()
    return cleaned if len(cleaned) <= MAX_MESSAGE else f"{cleaned[:MAX_MESSAGE - 1]}…"


def size(count: int) -> str:
    """Bytes as people read them: 253 MB."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= step:
            amount = count / step
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{count} bytes"


def memory(count: int) -> str:
    """The same as memory is given in a spec: 3.5Gi."""
    for unit, step in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if count >= step:
            return f"{count / step:.1f}".removesuffix(".0") + unit
    return str(count)


def pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"
