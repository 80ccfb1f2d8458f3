"""`paddock usage`: a server's `/usage` as a table whose lines add up."""

from __future__ import annotations

from pydantic import ValidationError

from paddock_api.usage import Amounts, PodUsage
from paddock_cli.ask import ask
from paddock_cli.errors import CommandError

_GIB_HOUR = 3600 << 30
_HEAD = ("", "GiB-hours", "busy s", "requests", "prompt", "cached", "completion")


def show(server: str, *, by: str, as_json: bool) -> int:
    """Raises CommandError."""
    text = ask(server.rstrip("/"), "/usage").decode()
    try:
        usage = PodUsage.model_validate_json(text)
    except ValidationError:
        raise CommandError(f"{server} answers, but not with usage: is it a Paddock server of this version?") from None
    print(text if as_json else table(usage, by=by))
    return 0


def table(usage: PodUsage, *, by: str) -> str:
    """A line each, what is nobody's, and the total."""
    lines: dict[str, list[tuple[str, Amounts]]] = {
        "model": [(f"{each.namespace}/{each.model}", each) for each in usage.models],
        "tenant": [(each.tenant or "(nobody)", each) for each in usage.tenants],
        "namespace": [(each.namespace, each) for each in usage.namespaces],
        "entry": [(f"{each.namespace}/{each.model} {each.tenant or '(nobody)'}", each) for each in usage.entries],
    }
    rows = [_row(name, amounts) for name, amounts in lines[by]]
    rows = [(by.upper(), *_HEAD[1:]), *rows, _row("unattributed", usage.unattributed), _row("total", usage.total)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(
        cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip() for row in rows)


def _row(name: str, amounts: Amounts) -> tuple[str, ...]:
    return (_printable(name), f"{amounts.memory_byte_seconds / _GIB_HOUR:.4f}",
            f"{amounts.busy_microseconds / 1e6:.2f}", str(amounts.requests), str(amounts.prompt_tokens),
            str(amounts.cached_tokens), str(amounts.completion_tokens))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
