"""Reading a JSON object field by field: null counts as left out, what is wrong is a 400 that names the field."""

from __future__ import annotations

import json
import math
from typing import Any

from paddock_api.errors import Code, PaddockError


class Fields:
    """One JSON object and its place in the request (`path`), which errors name as `param`."""

    def __init__(self, values: dict[str, Any], path: str = "") -> None:
        self._values = values
        self._path = path

    def param(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def wrong(self, name: str, problem: str, *, code: Code = Code.INVALID_REQUEST) -> PaddockError:
        """The error for a field: `problem` goes on after its name."""
        return PaddockError(code, f"{self.param(name)} {problem}", param=self.param(name))

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, f"must be a number from {low:g} to {high:g}, not {show(value)}")
        if not low <= value <= high or not math.isfinite(value):
            raise self.wrong(name, f"must be from {low:g} to {high:g}, not {show(value)}")
        return float(value)

    def integer(self, name: str, low: int, high: int, *, hint: str = "") -> int | None:
        value = self.get(name)
        if value is None:
            return None
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            raise self.wrong(name, f"must be an integer from {low} to {high}, not {show(value)}{hint}")
        if not low <= value <= high:
            raise self.wrong(name, f"must be from {low} to {high}, not {show(value)}{hint}")
        return int(value)

    def flag(self, name: str) -> bool | None:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, f"must be true or false, not {show(value)}")
        return value

    def text(self, name: str, most: int, *, least: int = 0) -> str | None:
        """A string of `least` to `most` characters."""
        value = self.get(name)
        return None if value is None else self._text(name, value, most, least)

    def texts(self, name: str, *, count: int, most: int, least: int = 0) -> list[str] | None:
        """At most `count` strings; one string alone counts as a list of one."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            return [self._text(name, value, most, least)]
        if not isinstance(value, list):
            raise self.wrong(name, f"must be a string or a list of strings, not {show(value)}")
        if len(value) > count:
            raise self.wrong(name, f"may hold at most {count} strings, not {len(value)}")
        return [self._text(f"{name}[{index}]", item, most, least) for index, item in enumerate(value)]

    def choice(self, name: str, *options: str) -> str | None:
        value = self.get(name)
        if value is not None and value not in options:
            raise self.wrong(name, f"must be one of {', '.join(options)}, not {show(value)}")
        return None if value is None else str(value)

    def table(self, name: str) -> Fields | None:
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, f"must be an object, not {show(value)}")
        return Fields(value, self.param(name))

    def items(self) -> list[tuple[str, Any]]:
        return list(self._values.items())

    def _text(self, name: str, value: Any, most: int, least: int) -> str:
        if not isinstance(value, str):
            raise self.wrong(name, f"must be a string, not {show(value)}")
        if len(value) < least:
            raise self.wrong(name, "must not be empty")
        if len(value) > most:
            raise self.wrong(name, f"may have at most {most} characters, not {len(value)}")
        return value


def show(value: Any) -> str:
    """A value as the client wrote it, short enough for a message."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
