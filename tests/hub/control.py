"""How a test steers a double that runs in another process or pod.

| request | does |
| --- | --- |
| `GET /_double/seen` | `{"seen": [{place, method, path, query, status, sent}], "unknown": […]}` |
| `POST /_double/fail` | `{"pattern", "times", …}` with the fields of `Behaviour`: `Double.fail` |
| `POST /_double/heal` | forgets all faults |
| `POST /_double/reload` | reads the directory again: a changed file is a new commit of its branch |
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from tests.hub.app import Double, Receive, Scope, Send
from tests.hub.behaviour import Behaviour
from tests.hub.repos import load

PREFIX = "/_double/"


async def serve(double: Double, scope: Scope, receive: Receive, send: Send) -> None:
    status, document = 200, {}
    try:
        document = _do(double, scope["method"], scope["path"].removeprefix(PREFIX), await _body(receive))
    except (ValueError, TypeError, KeyError) as error:
        status, document = 400, {"error": str(error)}
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


def _do(double: Double, method: str, name: str, body: bytes) -> dict[str, Any]:
    match method, name:
        case "GET", "seen":
            seen = [{name: getattr(request, name) for name in ("place", "method", "path", "query", "status", "sent")}
                    for request in list(double.seen)]
            return {"seen": seen, "unknown": double.unknown}
        case "POST", "fail":
            wanted = json.loads(body)
            pattern, times = wanted.pop("pattern"), wanted.pop("times", 1)
            double.fail(pattern, _behaviour(wanted), times=times)
        case "POST", "heal":
            double.heal()
        case "POST", "reload":
            if double.root is None:
                raise ValueError("this double serves no directory")
            repos, tokens = load(double.root)
            double.replace(repos, tokens)
        case _:
            raise ValueError(f"{method} {PREFIX}{name} is not known")
    return {}


def _behaviour(wanted: dict[str, Any]) -> Behaviour:
    unknown = wanted.keys() - {field.name for field in fields(Behaviour)}
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
    if "body" in wanted:
        wanted["body"] = wanted["body"].encode()
    return Behaviour(**wanted)


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        piece: bytes = message.get("body", b"")
        body += piece
        if not message.get("more_body"):
            return body
