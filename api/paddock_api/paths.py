"""Names of files that come from outside (hubs, manifests), made safe before they touch a file system."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

MAX_PATH_BYTES = 1024
MAX_PART_BYTES = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# An escaped dot, slash, backslash, NUL or percent: harmless today, a traversal once anything decodes it.
_ESCAPED = re.compile(r"%(2e|2f|5c|00|25)", re.IGNORECASE)
_DRIVE = re.compile(r"^[A-Za-z]:")


def safe_relative(name: str) -> PurePosixPath:
    """`name` as a relative path that stays below wherever it is joined. Raises ValueError with the reason."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} is not valid Unicode text") from None
    if not name:
        raise ValueError("the path is empty")
    if len(encoded) > MAX_PATH_BYTES:
        raise ValueError(f"the path has {len(encoded)} bytes; at most {MAX_PATH_BYTES} are allowed")
    if _CONTROL.search(name):
        raise ValueError(f"{name!r} holds a control character")
    if "\\" in name:
        raise ValueError(f"{name!r} holds a backslash; separate folders with /")
    if _ESCAPED.search(name):
        raise ValueError(f"{name!r} holds a percent-encoded separator or dot; write it plainly")
    if name.startswith("/") or _DRIVE.match(name):
        raise ValueError(f"{name!r} is absolute; give a path relative to its volume or repository")
    for part in name.split("/"):
        _check_part(name, part)
    return PurePosixPath(name)


def _check_part(name: str, part: str) -> None:
    if not part:
        raise ValueError(f"{name!r} has an empty part (// or a / at the end)")
    if part in (".", ".."):
        raise ValueError(f"{name!r} holds the part {part!r}; paths may not step upward")
    if len(part.encode()) > MAX_PART_BYTES:
        raise ValueError(f"a part of the path is longer than {MAX_PART_BYTES} bytes")
