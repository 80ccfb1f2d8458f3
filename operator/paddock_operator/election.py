"""Who leads: client-go's rules for a Lease, as pure steps over what was seen and when, by a clock that nobody sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from paddock_operator.clock import Clock

_MAX_WRITE = 10.0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds. A follower takes a lease that it saw unchanged for `duration`; a leader that could not renew it for
    `renew_deadline` stops; each tries every `retry`. A write in flight may last until `margin` before the end."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0
    margin: float = 1.0

    def __post_init__(self) -> None:
        if not self.duration - self.margin > self.renew_deadline > self.retry > 0:
            raise ValueError(
                f"lease times: duration ({self.duration:g} s) less {self.margin:g} s must exceed the renew deadline "
                f"({self.renew_deadline:g} s), and that the retry period ({self.retry:g} s)")


@dataclass(frozen=True, kw_only=True)
class Record:
    """The Lease as stored. `acquired` and `renewed` are Unix seconds, for people: nothing is decided by them.
    `version` is None for a Lease that does not exist yet."""

    holder: str
    duration: float
    acquired: float = 0.0
    renewed: float = 0.0
    transitions: int = 0
    version: str | None = None


@dataclass(frozen=True)
class Seen:
    """A record, and when this process first saw it so."""

    record: Record
    at: float


def see(before: Seen | None, record: Record, now: float) -> Seen:
    """Any change of the record starts the time anew: its holder is alive."""
    return before if before is not None and before.record == record else Seen(record, now)


def wanted(identity: str, seen: Seen | None, now: float, wall: float, timing: Timing) -> Record | None:
    """The record to write in order to lead or to go on leading; None while another one leads."""
    if seen is None:
        return Record(holder=identity, duration=timing.duration, acquired=wall, renewed=wall)
    record = seen.record
    if record.holder == identity:
        return replace(record, duration=timing.duration, renewed=wall)
    if record.holder and now < seen.at + record.duration:
        return None
    return replace(record, holder=identity, duration=timing.duration, acquired=wall, renewed=wall,
                   transitions=record.transitions + 1)


def released(record: Record, wall: float) -> Record:
    """Nobody's: whoever looks next may take it at once."""
    return replace(record, holder="", duration=1.0, renewed=wall)


class NotLeader(Exception):
    """This process does not lead (any more), so it must not write."""


class Leadership:
    """What this process may still do, counted from when its last renewal *began*: others count from later."""

    def __init__(self, timing: Timing, clock: Clock) -> None:
        self._timing = timing
        self._clock = clock
        self._renewed: float | None = None

    def renewed(self, began: float) -> None:
        """A renewal succeeded whose request was sent at `began`."""
        self._renewed = began

    def lost(self) -> None:
        self._renewed = None

    @property
    def holds(self) -> bool:
        return self.remaining > 0

    @property
    def remaining(self) -> float:
        """Seconds until this process must stop writing, unless it renews; 0 for a follower."""
        if self._renewed is None:
            return 0.0
        return max(0.0, self._renewed + self._timing.renew_deadline - self._clock())

    def write_timeout(self) -> float:
        """Seconds that a write which starts now may take: it ends before anybody else could lead. Raises NotLeader."""
        if self._renewed is None or not self.holds:
            raise NotLeader
        expires = self._renewed + self._timing.duration - self._timing.margin
        return min(_MAX_WRITE, expires - self._clock())
