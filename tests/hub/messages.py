"""What the double is asked and what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.hub.repos import File


@dataclass(frozen=True)
class Asked:
    """`parts`: the path's segments, each decoded by itself. `origin`: scheme and host as the client named them."""

    method: str
    raw_path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    origin: str

    @staticmethod
    def of(method: str, raw_path: str, query: str, headers: Mapping[str, str]) -> Asked:
        pairs = tuple(parse_qsl(query, keep_blank_values=True))
        return Asked(method, raw_path, pairs, headers, f"http://{headers.get('host', '')}")

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(unquote(part) for part in self.raw_path.lstrip("/").split("/"))

    def one(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.query if key == name), default)

    def many(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]

    def is_true(self, name: str) -> bool:
        return self.one(name).lower() in ("true", "1")


@dataclass(frozen=True)
class Reply:
    """The body is `body`, or `file`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: File | None = None

    @staticmethod
    def json(document: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return Reply(200, {"Content-Type": "application/json; charset=utf-8", **(headers or {})},
                     json.dumps(document).encode())

    @staticmethod
    def error(status: int, message: str, code: str | None = None) -> Reply:
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Error-Message": message}
        if code is not None:
            headers["X-Error-Code"] = code
        return Reply(status, headers, json.dumps({"error": message}).encode())


class Unknown(Exception):
    """A request that the double has no honest answer to."""
