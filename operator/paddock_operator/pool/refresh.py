"""The annotation on pods that makes kubelet refresh their mounted configuration at once, until they report it. Pure."""

from __future__ import annotations

from typing import NamedTuple

# Seconds until a pod that does not report is annotated once more, by how often it was. After an outage of the API
# server a kubelet may need a minute or two to see ConfigMaps again, and then reads them at the next sign.
_AGAIN = (5.0, 10.0, *[15.0] * 8)
_AGAIN_LATER = 60.0


class Nudge(NamedTuple):
    """`value` to set now, if any; `again`: seconds until the pod is looked at again, if it has to be."""

    value: str | None
    again: float | None


def nudge(wanted: str, *, reported: str | None, annotation: str | None, since: float | None) -> Nudge:
    """`wanted` is the hash of the configuration; `reported`, if the pod reports at all, what is in force there.
    `since`: seconds since the annotation was set, None if nobody knows.

    A value that is set twice changes nothing, so from the second time on the value carries a number."""
    if reported == wanted:
        return Nudge(None, None)
    hash_, _, number = (annotation or "").partition(".")
    if hash_ != wanted:
        return Nudge(wanted, _pause(0))
    count = int(number) if number.isascii() and number.isdigit() else 0
    if since is None:
        return Nudge(None, _pause(count))
    left = _pause(count) - since
    return Nudge(None, left) if left > 0 else Nudge(f"{wanted}.{count + 1}", _pause(count + 1))


def _pause(count: int) -> float:
    return _AGAIN[count] if count < len(_AGAIN) else _AGAIN_LATER
