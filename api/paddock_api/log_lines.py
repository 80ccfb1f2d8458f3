"""How a log record becomes a line: one line of ASCII JSON, always, bounded and without secrets. Pure."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

# A second net: nothing logs headers or tokens, but a library's message might.
_SECRETS = re.compile(r"(?i)\b(authorization\W{1,4}(?:(?:bearer|basic)\s+)?|bearer\s+|basic\s+|hf_)[\w.~+/=-]{6,}")
# A URL without a query matches too: to find out that it has none, again from each of its characters, would take long.
_URL = re.compile(r"(https?://[^\s?\"']++)(\?[^\s\"']*+)?")


class JsonFormatter(logging.Formatter):
    """Control characters, ANSI and line separators come out escaped. `fields` are the names of a record's extras that
    are shown, `max_text` bounds each text, in characters."""

    def __init__(self, fields: Sequence[str], *, max_text: int) -> None:
        super().__init__()
        self._fields = fields
        self._max_text = max_text

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.line(record), ensure_ascii=True, default=str).replace("\x7f", "\\u007f")

    def line(self, record: logging.LogRecord) -> dict[str, Any]:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.clean(record.getMessage()),
        }
        for name in self._fields:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = self.clean(value)
        if record.exc_info:
            line["error"] = self.clean(self.formatException(record.exc_info))
        return line

    def clean(self, value: Any) -> Any:
        """Strings bounded and without secrets, in containers too."""
        if isinstance(value, dict):
            return {str(key): self.clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean(item) for item in value]
        if not isinstance(value, str):
            return value
        text = _SECRETS.sub(lambda match: f"{match.group(1)}[redacted]", value)
        text = _URL.sub(lambda match: f"{match.group(1)}?[redacted]" if match.group(2) else match.group(0), text)
        return text if len(text) <= self._max_text else f"{text[:self._max_text]}…"
