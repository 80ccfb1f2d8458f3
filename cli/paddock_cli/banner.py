"""What a person sees when the server is up: where it is, what it serves, what to type next."""

from __future__ import annotations

import json
import shlex

from paddock_api.pool import PoolConfig
from paddock_cli.quantities import format_bytes


def url_of(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def try_next(config: PoolConfig, url: str) -> str:
    """A command that asks the first Model something it can answer."""
    entries = sorted(config.models.values(), key=lambda entry: (entry.desired.spec.engine.embeddings, entry.name))
    entry = entries[0]
    body: dict[str, object]
    if entry.desired.spec.engine.embeddings:
        path, body = "/v1/embeddings", {"model": entry.name, "input": "Hello"}
    else:
        path, body = "/v1/chat/completions", {"model": entry.name, "max_tokens": 64, "messages": [
            {"role": "user", "content": "Hello"}]}
    return f"curl {url}{path} -d {shlex.quote(json.dumps(body))}"


def banner(config: PoolConfig, url: str, *, version: str, memory_bytes: int) -> str:
    names = sorted(entry.name for entry in config.models.values())
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return "\n".join([
        "",
        f"  Paddock {version} at {url}",
        f"  Models   {shown}",
        f"  Memory   at most {format_bytes(memory_bytes)}; a model is loaded by its first request",
        "",
        "  Try      " + try_next(config, url),
        f"  Look     curl {url}/state",
        "  Ctrl-C ends it.",
        "",
    ])
