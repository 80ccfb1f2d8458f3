"""Points before and after every write, at which a test ends the process: the next one must pick up where this one was.

Only with PADDOCK_TEST_FAILPOINTS=1. PADDOCK_FAILPOINT=NAME:NUMBER ends the process at the NUMBERth time that the point
NAME is passed, such as before-apply-statefulsets:1; before-any and after-any count every write but the Lease's. Of
several points, separated by commas, the first one reached ends it. PADDOCK_FAILPOINT_TRACE=FILE gets a line for each
point passed, so that a test can name them all, and the last.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

EXIT_CODE = 86
_APART = "-leases"


class Failpoints:
    def __init__(self, targets: Collection[tuple[str, int]] = (), trace: Path | None = None) -> None:
        self._targets = frozenset(targets)
        self._trace = trace
        self._passed: Counter[str] = Counter()

    def passed(self, name: str) -> None:
        """A point is reached; the process may end here, without a word to anybody."""
        if not self._targets and self._trace is None:
            return
        self._passed[name] += 1
        if self._trace is not None:
            with self._trace.open("a") as file:
                file.write(f"{name}:{self._passed[name]}\n")
        every = f"{name.partition('-')[0]}-any"
        self._passed[every] += not name.endswith(_APART)
        if self._targets & {(name, self._passed[name]), (every, self._passed[every])}:
            os._exit(EXIT_CODE)


def from_environment(environment: Mapping[str, str]) -> Failpoints:
    """Raises ValueError for a point that is not NAME:NUMBER."""
    if environment.get("PADDOCK_TEST_FAILPOINTS") != "1":
        return Failpoints()
    trace = environment.get("PADDOCK_FAILPOINT_TRACE")
    targets = [_target(each) for each in environment.get("PADDOCK_FAILPOINT", "").split(",") if each]
    return Failpoints(targets, Path(trace) if trace else None)


def _target(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition(":")
    if not name or not number.isdigit():
        raise ValueError(f"PADDOCK_FAILPOINT: {text!r} is not NAME:NUMBER, such as before-apply-statefulsets:1")
    return name, int(number)
