"""How a command ends when it can't go on: one line and an exit code."""

from __future__ import annotations

FAILED = 1
USAGE = 2


class CommandError(Exception):
    """`message` says what is wrong and what to do, for a person at a terminal."""

    def __init__(self, message: str, *, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
