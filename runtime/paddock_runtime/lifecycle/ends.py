"""What the end of a child means, in words. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from paddock_api.errors import Code, PaddockError

_SHOWN_LINES = 2
_SHOWN_CHARS = 300


def engine_code(word: str, otherwise: Code) -> Code:
    """The Code that a child named, if it is one."""
    try:
        return Code(word)
    except ValueError:
        return otherwise


def exit_words(code: int) -> str:
    """An exit code as people read it: `signal SIGKILL`, `exit code 3`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def crash_error(code: int, tail: Sequence[str], *, loading: bool, fault: str | None = None) -> PaddockError:
    """The error of a child that ended by itself, with its last words."""
    what = "the engine ended while it loaded" if loading else "the engine ended while it worked"
    words = fault if fault is not None else " | ".join(tail[-_SHOWN_LINES:])[:_SHOWN_CHARS]
    said = f": {words}" if words else ""
    return PaddockError(Code.LOAD_FAILED if loading else Code.ENGINE_CRASHED, f"{what} ({exit_words(code)}){said}")
