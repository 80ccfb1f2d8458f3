"""Questions to a server on this machine."""

from __future__ import annotations

import httpx

from paddock_cli.errors import CommandError

_SECONDS = 10.0


def ask(server: str, path: str, *, otherwise: str = "") -> bytes:
    """What `server` answers. Raises CommandError; `otherwise`: what else could be named than a server."""
    try:
        answer = httpx.get(server + path, timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        raise CommandError(f"no server answers at {server}: start one with `paddock serve`, name another with "
                           f"--server{otherwise}") from None
    if answer.status_code != 200:
        raise CommandError(f"{server}: {_message(answer)} (HTTP {answer.status_code})")
    return answer.content


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "it is no Paddock server, or one of another version"
