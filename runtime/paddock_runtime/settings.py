"""Every setting of a runtime pod: an environment variable or a flag, its default and what it is for."""

from __future__ import annotations

import argparse
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints
from urllib.parse import urlsplit

from paddock_api.addresses import is_host
from paddock_api.pool_storage import DEFAULT_ENDPOINT
from paddock_api.quantity import to_bytes

LEAST_MEMORY = 64 << 20
_DAY = 86_400
_PREFIX = "PADDOCK_"


class SettingError(Exception):
    """A setting that can't be used; the text names it and the remedy."""


class Address(NamedTuple):
    host: str
    port: int


class _From(NamedTuple):
    """Where a setting comes from, how its text is read, and what it is for."""

    variable: str
    read: Callable[[str], Any]
    text: str

    @property
    def flag(self) -> str:
        return "--" + self.variable.removeprefix(_PREFIX).lower().replace("_", "-")


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("give host:port, such as 0.0.0.0:8080 or [::]:8080")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _bytes(text: str) -> int:
    size = to_bytes(text)
    if size < 1:
        raise ValueError("give at least one byte")
    return size


def _bytes_or_none(text: str) -> int:
    size = to_bytes(text)
    if size < 0:
        raise ValueError("give a size, or 0 for none")
    return size


def _memory(text: str) -> int:
    size = to_bytes(text)
    if size < LEAST_MEMORY:
        raise ValueError(f"{size} bytes hold no model: give at least {LEAST_MEMORY >> 20}Mi")
    return size


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= _DAY:
        raise ValueError(f"give seconds from 0 to {_DAY}")
    return value


def _hosts(text: str) -> frozenset[str]:
    hosts = [host.strip().lower() for host in text.split(",") if host.strip()]
    for host in hosts:
        parts = urlsplit(f"//{host}")
        if not is_host((parts.hostname or "").encode()) or parts.path or parts.query:
            raise ValueError(f"{host!r} is no host: give host or host:port, with commas between several")
    return frozenset(hosts)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("give a URL that starts with https:// or http://, without user name and password")
    return text.rstrip("/")


def _level(text: str) -> int:
    levels = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
    if text.lower() not in levels:
        raise ValueError(f"give one of {', '.join(levels)}")
    return levels[text.lower()]


_ANYWHERE = Address("0.0.0.0", 8080)  # a container listens for all


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Times in seconds, sizes in bytes."""

    memory: Annotated[int, _From(
        "PADDOCK_MEMORY", _memory,
        "What all engines together may take, such as 8Gi. Required.")]
    pod: Annotated[str, _From(
        "PADDOCK_POD", str,
        "Name of this pod; assignments name pods by it. Not set: the host name.")] = ""
    namespace: Annotated[str, _From(
        "PADDOCK_NAMESPACE", str, "Namespace of the pool, for the log.")] = ""
    pool: Annotated[str, _From(
        "PADDOCK_POOL", str, "Name of the pool, for the log.")] = ""
    pool_config: Annotated[Path, _From(
        "PADDOCK_POOL_CONFIG", Path,
        "Folder of the pool's configuration, in shards; followed.")] = Path("/etc/paddock/pool")
    token_file: Annotated[Path, _From(
        "PADDOCK_TOKEN_FILE", Path,
        "File with the pool's token, which all but the probes need; read again when it changes.",
    )] = Path("/etc/paddock/token/token")
    cache: Annotated[Path, _From(
        "PADDOCK_CACHE", Path,
        "Folder for fetched files and kept prompts. Nothing else but the temporary folder is written.",
    )] = Path("/cache")
    disk: Annotated[int | None, _From(
        "PADDOCK_DISK", _bytes,
        "What fetched files may take, such as 100Gi. Not set: what the disk has, but for 256Mi.")] = None
    prompt_disk: Annotated[int | None, _From(
        "PADDOCK_PROMPT_DISK", _bytes_or_none,
        "What idle prompts that are kept for later loads may take; 0 keeps none. Not set: 4Gi, or a tenth of what is "
        "free if that is less.")] = None
    prompt_write: Annotated[float, _From(
        "PADDOCK_PROMPT_WRITE_SECONDS", _seconds,
        "An idle prompt is on disk by then; in half of it if nothing else is to do.")] = 20.0
    volumes: Annotated[Path, _From(
        "PADDOCK_VOLUMES", Path, "Folder whose folders are the volumes that Models may name.")] = Path("/volumes")
    credentials: Annotated[Path, _From(
        "PADDOCK_CREDENTIALS", Path,
        "Folder with one folder for each credential that Models may name: files token and endpoint.",
    )] = Path("/etc/paddock/credentials")
    hf_endpoint: Annotated[str, _From(
        "PADDOCK_HF_ENDPOINT", _url,
        "The hub of credentials without an endpoint. Set to another one, it may have a private address.",
    )] = DEFAULT_ENDPOINT
    allowed_hosts: Annotated[frozenset[str], _From(
        "PADDOCK_ALLOWED_HOSTS", _hosts,
        "Hosts (host or host:port, with commas) that may be fetched from although their addresses are private.",
    )] = frozenset()
    listen: Annotated[Address, _From(
        "PADDOCK_LISTEN", _address, "Where gateways and operator connect.")] = _ANYWHERE
    drain: Annotated[float, _From(
        "PADDOCK_DRAIN_SECONDS", _seconds,
        "From SIGTERM until what still runs is ended. In the first 5 of them new work is taken.")] = 30.0
    log_level: Annotated[int, _From(
        "PADDOCK_LOG_LEVEL", _level, "debug, info, warning or error.")] = logging.INFO

    @property
    def fetch_hosts(self) -> frozenset[str]:
        """All hosts that may have private addresses."""
        if self.hf_endpoint == DEFAULT_ENDPOINT:
            return self.allowed_hosts
        return self.allowed_hosts | {urlsplit(self.hf_endpoint).netloc.lower()}


def read_settings(environment: Mapping[str, str], arguments: Sequence[str]) -> Settings:
    """A flag wins over its variable; an empty variable counts as not set. Raises SettingError.

    Ends the process for `--help` and unknown flags, as argparse does."""
    given = vars(_parser().parse_args(arguments))
    values: dict[str, Any] = {}
    for name, source in SOURCES.items():
        text = given[name] if given[name] is not None else environment.get(source.variable, "")
        if given[name] is None and not text:
            continue
        try:
            values[name] = source.read(text)
        except ValueError as error:
            place = source.flag if given[name] is not None else source.variable
            shown = "not shown, since it may hold a password" if "@" in text else repr(text[:200])
            raise SettingError(f"{place} is {shown}: {error}") from None
    if "memory" not in values:
        source = SOURCES["memory"]
        raise SettingError(f"{source.variable} is not set: give what all engines together may take, such as 8Gi")
    return Settings(**{"pod": socket.gethostname(), **values})


def table() -> str:
    """All settings in Markdown, for docs/runtime.md."""
    defaults = {each.name: each.default for each in fields(Settings)}
    rows = [f"| `{source.variable}` | `{source.flag}` | {_shown(defaults[name])} | {source.text} |"
            for name, source in SOURCES.items()]
    return "\n".join(["| variable | flag | default | meaning |", "| --- | --- | --- | --- |", *rows])


def _shown(value: Any) -> str:
    if value is MISSING or value in (None, "", frozenset()):
        return ""
    if isinstance(value, Address):
        value = f"{value.host}:{value.port}"
    elif value == logging.INFO and isinstance(value, int):
        value = "info"
    elif isinstance(value, float):
        value = f"{value:g}"
    return f"`{value}`"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m paddock_runtime", allow_abbrev=False,
                                     description="One pod of a RuntimePool. A flag wins over its environment variable.")
    for name, source in SOURCES.items():
        parser.add_argument(source.flag, dest=name, metavar="VALUE", help=f"{source.text} ({source.variable})")
    return parser


SOURCES: dict[str, _From] = {
    name: next(each for each in hint.__metadata__ if isinstance(each, _From))
    for name, hint in get_type_hints(Settings, include_extras=True).items()
}


if __name__ == "__main__":
    print(table())
