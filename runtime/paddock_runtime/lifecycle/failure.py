"""What went wrong with a Model, when it is tried again, and what its clients are told meanwhile. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from paddock_api.errors import Code, PaddockError
from paddock_runtime.lifecycle.limits import Backoff, Limits

# What a waiting client waits out: it tends to pass soon, or other requests caused it.
_HOLDING = frozenset({Code.ENGINE_CRASHED, Code.ENGINE_HUNG, Code.SOURCE_UNAVAILABLE})


@dataclass(frozen=True, kw_only=True)
class Failure:
    """`at` and `retry_at` are monotonic seconds. Without `retry_at`: not before the spec or the file changes."""

    code: Code
    message: str
    at: float
    attempts: int
    retry_at: float | None
    param: str | None = None

    @property
    def permanent(self) -> bool:
        return self.retry_at is None

    @property
    def holds(self) -> bool:
        """Whether waiting requests go on waiting."""
        return not self.permanent and self.code in _HOLDING

    def blocks(self, now: float) -> bool:
        """Whether a new attempt must wait."""
        return self.retry_at is None or now < self.retry_at

    def error(self, now: float) -> PaddockError:
        """As a client gets it."""
        if self.retry_at is None:
            return PaddockError(self.code, self.message, param=self.param)
        left = max(0.0, self.retry_at - now)
        times = "" if self.attempts == 1 else f" ({self.attempts} times in a row)"
        soon = f"in {left:.0f} s" if left >= 1 else "with the next request"
        return PaddockError(self.code, f"{self.message}{times}; it is tried again {soon}", param=self.param,
                            retry_after=max(1.0, left))


def failed(error: PaddockError, *, before: Failure | None, limits: Limits, now: float) -> Failure:
    """The failure that `error` makes after `before`."""
    attempts = 1 if before is None else before.attempts + 1
    backoff = _backoff(error.code, limits)
    delay = backoff.delay(attempts)
    if error.retry_after is not None and error.retry_after > limits.source_pause:
        delay = max(delay, min(error.retry_after, backoff.most))
    retry_at = None if error.permanent else now + delay
    return Failure(code=error.code, message=error.message, at=now, attempts=attempts, retry_at=retry_at,
                   param=error.param)


def _backoff(code: Code, limits: Limits) -> Backoff:
    if code is Code.ENGINE_OOM:
        return limits.oom_backoff
    return limits.crash_backoff if code in (Code.ENGINE_CRASHED, Code.ENGINE_HUNG) else limits.load_backoff
