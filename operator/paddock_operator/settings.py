"""Every setting of the operator: an environment variable, its default and what it is for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

from paddock_operator.election import Timing
from paddock_operator.store import Key

_LEVELS = ("debug", "info", "warning", "error")


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
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("give host:port, such as 0.0.0.0:9090 or [::]:9090")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _pool(text: str) -> Key:
    namespace, slash, name = text.partition("/")
    if not slash or not namespace or not name or "/" in name:
        raise ValueError("give namespace/name")
    return Key(namespace, name)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise ValueError("give seconds, more than 0 and at most 86400")
    return value


def _workers(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 256:
        raise ValueError("give a whole number from 1 to 256")
    return value


def _level(text: str) -> str:
    if text.lower() not in _LEVELS:
        raise ValueError(f"give one of {', '.join(_LEVELS)}")
    return text.lower()


_ANYWHERE = Address("0.0.0.0", 9090)  # a container listens for all


@dataclass(frozen=True, kw_only=True)
class Settings:
    namespace: Annotated[str, _From(
        "PADDOCK_NAMESPACE", str, "The operator's own namespace: its Lease is there, and poolRefs without a namespace "
        "mean it. Required.")]
    root_token_file: Annotated[Path, _From(
        "PADDOCK_ROOT_TOKEN_FILE", Path, "File with the root token, from which the token of each pool is derived. "
        "Required.")]
    runtime_image: Annotated[str, _From(
        "PADDOCK_RUNTIME_IMAGE", str, "Image of the pods of a RuntimePool without spec.image. Required.")]
    default_pool: Annotated[Key | None, _From(
        "PADDOCK_DEFAULT_POOL", _pool, "RuntimePool (namespace/name) of Models without spec.poolRef. Not set: pool "
        "default in the operator's namespace.")] = None
    hub_endpoint: Annotated[str | None, _From(
        "PADDOCK_HF_ENDPOINT", str, "Address of the Hugging Face Hub, or of a mirror. Not set: the public one.")] = None
    allowed_hosts: Annotated[str | None, _From(
        "PADDOCK_ALLOWED_HOSTS", str, "Hosts that sources may reach although their addresses are private; comma "
        "separated.")] = None
    kubeconfig: Annotated[str | None, _From(
        "PADDOCK_KUBECONFIG", str, "Outside of a cluster: the kubeconfig to use. Not set: the account of the "
        "operator's own pod.")] = None
    listen: Annotated[Address, _From(
        "PADDOCK_LISTEN", _address, "Where /metrics, /livez and /readyz are.")] = _ANYWHERE
    workers: Annotated[int, _From(
        "PADDOCK_WORKERS", _workers, "Models that are worked on at once.")] = 16
    follow: Annotated[float, _From(
        "PADDOCK_FOLLOW_SECONDS", _seconds, "How often the source of a Model with updatePolicy Follow is asked.")] = 600
    resync: Annotated[float, _From(
        "PADDOCK_RESYNC_SECONDS", _seconds, "How often everything is listed and looked at again.")] = 300
    watch_idle: Annotated[float, _From(
        "PADDOCK_WATCH_IDLE_SECONDS", _seconds, "A watch that told nothing for so long is begun anew: its connection "
        "may be dead without a sign.")] = 70
    lease: Annotated[float, _From(
        "PADDOCK_LEASE_SECONDS", _seconds, "How long a lease that is not renewed keeps others from leading.")] = 15
    lease_renew: Annotated[float, _From(
        "PADDOCK_LEASE_RENEW_SECONDS", _seconds, "A leader that could not renew its lease for so long stops.")] = 10
    lease_retry: Annotated[float, _From(
        "PADDOCK_LEASE_RETRY_SECONDS", _seconds, "How often the lease is renewed or tried for.")] = 2
    identity: Annotated[str, _From(
        "HOSTNAME", str, "Name of this process in the Lease and in events: the pod's.")] = ""
    log_level: Annotated[str, _From(
        "PADDOCK_LOG_LEVEL", _level, "Least level of what is logged: debug, info, warning or error.")] = "info"

    @property
    def pool(self) -> Key:
        return self.default_pool or Key(self.namespace, "default")

    @property
    def timing(self) -> Timing:
        """Raises ValueError for times that do not go together."""
        return Timing(duration=self.lease, renew_deadline=self.lease_renew, retry=self.lease_retry)


def flag(variable: str) -> str:
    """The command line's form of a variable: --root-token-file."""
    return "--" + variable.removeprefix("PADDOCK_").lower().replace("_", "-")


def table() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of each setting."""
    hints = get_type_hints(Settings, include_extras=True)
    shown = []
    for each in fields(Settings):
        source = _source(hints, each.name)
        default = "" if each.default in (MISSING, None, "") else _text(each.default)
        shown.append((source.variable, default, source.text))
    return shown


def read(environment: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Settings:
    """From the environment; `flags`, by variable, win. Raises SettingError."""
    hints = get_type_hints(Settings, include_extras=True)
    given = {**environment, **(flags or {})}
    found: dict[str, Any] = {}
    for each in fields(Settings):
        source = _source(hints, each.name)
        text = given.get(source.variable, "")
        if text:
            try:
                found[each.name] = source.read(text)
            except ValueError as error:
                raise SettingError(f"{source.variable}: {text!r} can't be used: {error}") from None
        elif each.default is MISSING:
            raise SettingError(f"{source.variable} is not set: {source.text}")
    found.setdefault("identity", socket.gethostname())
    settings = Settings(**found)
    try:
        _ = settings.timing
    except ValueError as error:
        raise SettingError(f"PADDOCK_LEASE_SECONDS, _RENEW_SECONDS and _RETRY_SECONDS: {error}") from None
    return settings


def _source(hints: Mapping[str, Any], name: str) -> _From:
    source: _From = hints[name].__metadata__[0]
    return source


def _text(value: object) -> str:
    return f"{value.host}:{value.port}" if isinstance(value, Address) else str(value)
