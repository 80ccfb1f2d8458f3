"""What the end of a child, or of a plan to load one, means in words. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from paddock_api.errors import Code, PaddockError
from paddock_runtime.scheduler import Refuse

_MIB = 1 << 20
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


def no_room_error(seconds: float) -> PaddockError:
    """Why a load is refused for now: `seconds` until somebody has to make room for it."""
    return PaddockError(
        Code.NO_FIT, f"other models use the memory of this pod, and keep it for at least {seconds:.0f} s, longer than "
        "this request may wait: another pod may have room", retry_after=max(1.0, seconds))


def no_fit_error(refusal: Refuse) -> PaddockError:
    """Why a load is refused, with the numbers and what helps."""
    available = f"{refusal.available_bytes / _MIB:.0f} MiB"
    if refusal.forever:
        why = (f"the whole memory budget is {available}: lower engine.cacheTokens or engine.contextLength, take a "
               "smaller file, or raise the budget")
    else:
        why = f"pinned Models leave only {available} of the memory budget: unpin one, or raise the budget"
    return PaddockError(Code.NO_FIT, f"it needs {refusal.needed_bytes / _MIB:.0f} MiB, but {why}")
