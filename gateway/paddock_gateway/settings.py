"""Every setting of a gateway: an environment variable, its default and what it is for."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

from paddock_gateway.fleet.snapshot import PoolId

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})
_LEVELS = frozenset({"debug", "info", "warning", "error"})


class SettingError(Exception):
    """A setting that can't be used; the text names the variable and the remedy."""


class Address(NamedTuple):
    host: str
    port: int


class _From(NamedTuple):
    """Where a setting comes from, how its text is read, and what it is for."""

    variable: str
    read: Callable[[str], Any]
    text: str


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("give host:port, such as 0.0.0.0:8080 or [::]:8080")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("give true or false")
    return word in _TRUE


def _pool(text: str) -> PoolId:
    namespace, slash, name = text.partition("/")
    if not slash or not namespace or not name or "/" in name:
        raise ValueError("give namespace/name")
    return PoolId(namespace, name)


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise ValueError(f"give a number from {least:g} to {most:g}")
        return value

    return read


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError(f"give a whole number from {least} to {most}")
        return value

    return read


def _level(text: str) -> str:
    word = text.strip().lower()
    if word not in _LEVELS:
        raise ValueError(f"give one of {', '.join(sorted(_LEVELS))}")
    return word


_WEEK = 7 * 86400
_seconds = _number(0, _WEEK)
_ANYWHERE, _ANYWHERE_ADMIN = Address("0.0.0.0", 8080), Address("0.0.0.0", 9090)  # a container listens for all
_DEFAULT_POOL = PoolId("paddock-system", "default")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All times in seconds, all sizes in bytes."""

    listen: Annotated[Address, _From(
        "PADDOCK_LISTEN", _address,
        "Where clients connect.")] = _ANYWHERE
    admin_listen: Annotated[Address, _From(
        "PADDOCK_ADMIN_LISTEN", _address,
        "Where /metrics, /livez, /readyz, /demand and /state are. Not for clients.")] = _ANYWHERE_ADMIN
    root_token_file: Annotated[Path | None, _From(
        "PADDOCK_ROOT_TOKEN_FILE", Path,
        "File with the root token, from which the token of each pool is derived. Required.")] = None
    default_pool: Annotated[PoolId, _From(
        "PADDOCK_DEFAULT_POOL", _pool,
        "RuntimePool (namespace/name) of Models without spec.poolRef; references without a namespace mean its.",
    )] = _DEFAULT_POOL
    kubeconfig: Annotated[Path | None, _From(
        "PADDOCK_KUBECONFIG", Path,
        "Outside of a cluster: the kubeconfig to use. Not set: the account of the gateway's own pod.")] = None
    keys_dir: Annotated[Path | None, _From(
        "PADDOCK_KEYS_DIR", Path,
        "Folder with one file for each API key (a mounted Secret), read again when it changes.")] = None
    allow_anonymous: Annotated[bool, _From(
        "PADDOCK_ALLOW_ANONYMOUS", _boolean,
        "Whether everybody may use every Model as long as there is no API key. The first key ends it.")] = False
    hold: Annotated[float, _From(
        "PADDOCK_HOLD_SECONDS", _seconds,
        "How long a request may wait for its Model to be in memory.")] = 300.0
    deadline: Annotated[float, _From(
        "PADDOCK_DEADLINE_SECONDS", _number(1, _WEEK),
        "How long a request may take in all.")] = 3600.0
    queue_per_model: Annotated[int, _From(
        "PADDOCK_QUEUE_PER_MODEL", _integer(1, 100_000),
        "Requests without an answer yet, for each Model and each pod that has it; the next gets 429.")] = 256
    max_requests: Annotated[int, _From(
        "PADDOCK_MAX_REQUESTS", _integer(1, 1_000_000),
        "Requests at once, over all Models; the next gets 429.")] = 4096
    max_body: Annotated[int, _From(
        "PADDOCK_MAX_BODY_BYTES", _integer(1024, 256 << 20),
        "Largest body of a request; a larger one gets 413.")] = 8 << 20
    body_memory: Annotated[int, _From(
        "PADDOCK_BODY_MEMORY_BYTES", _integer(1 << 20, 64 << 30),
        "Memory for the bodies of requests that come in or wait; beyond it the next gets 429.")] = 256 << 20
    max_connections: Annotated[int, _From(
        "PADDOCK_MAX_CONNECTIONS", _integer(1, 1_000_000),
        "Connections of clients; further ones are closed.")] = 8192
    grace: Annotated[float, _From(
        "PADDOCK_GRACE_SECONDS", _seconds,
        "At the end: how long new requests are accepted, since some come until everybody knows.")] = 5.0
    drain: Annotated[float, _From(
        "PADDOCK_DRAIN_SECONDS", _seconds,
        "At the end, after the grace: how long requests may go on.")] = 30.0
    headers_after: Annotated[float, _From(
        "PADDOCK_HEADERS_AFTER_SECONDS", _seconds,
        "A streaming client that has nothing by then gets its headers, then signs of life.")] = 2.0
    heartbeat: Annotated[float, _From(
        "PADDOCK_HEARTBEAT_SECONDS", _number(0.1, 60),
        "Between two signs of life while a streaming client waits.")] = 2.0
    stall: Annotated[float, _From(
        "PADDOCK_STALL_SECONDS", _number(0.1, 3600),
        "A client that takes nothing for so long is cut.")] = 30.0
    body_timeout: Annotated[float, _From(
        "PADDOCK_BODY_TIMEOUT_SECONDS", _number(0.1, 3600),
        "Time to send a request's body.")] = 60.0
    show_pod: Annotated[bool, _From(
        "PADDOCK_SHOW_POD", _boolean,
        "Whether answers name their pod in a paddock-pod header.")] = False
    name: Annotated[str, _From(
        "PADDOCK_POD", str,
        "This gateway's name in /demand. Not set: the host's name.")] = field(default_factory=socket.gethostname)
    log_level: Annotated[str, _From(
        "PADDOCK_LOG_LEVEL", _level,
        "debug, info, warning or error.")] = "info"


class Setting(NamedTuple):
    """One line of the documentation."""

    variable: str
    default: str
    text: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """From environment variables; an empty one counts as not set. Raises SettingError."""
    values: dict[str, Any] = {}
    for name, source in _sources().items():
        text = environment.get(source.variable, "")
        if not text:
            continue
        try:
            values[name] = source.read(text)
        except ValueError as error:
            raise SettingError(f"{source.variable}={text[:100]!r} can't be used: {error}") from None
    return Settings(**values)


def describe_settings() -> list[Setting]:
    """All settings, for the documentation."""
    defaults = {each.name: each.default for each in dataclasses.fields(Settings)}
    return [Setting(source.variable, _shown(defaults[name]), source.text) for name, source in _sources().items()]


def _sources() -> dict[str, _From]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def _shown(value: Any) -> str:
    if value is dataclasses.MISSING or value is None:
        return ""
    if isinstance(value, Address):
        return f"{value.host}:{value.port}"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
