"""How the operator reaches its API server: as a pod's service account, or by a kubeconfig."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_kube_config

_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_KEY = "BearerToken"


class NoCluster(Exception):
    """There is neither a kubeconfig nor a service account to reach a cluster with."""


@dataclass(frozen=True)
class Connection:
    """What another client needs to reach the same server as the same user. Paths name files."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    key_path: str | None
    token: str | None
    insecure: bool


async def configure(kubeconfig: str | None, *, context: str | None = None,
                    environment: Mapping[str, str] = os.environ, folder: Path = _FOLDER) -> Configuration:
    """By `kubeconfig`, in its current or another `context`; else as the pod's service account. Raises NoCluster."""
    configuration = Configuration()
    if kubeconfig:
        try:
            await load_kube_config(  # type: ignore[no-untyped-call]  # the client's loaders have no types
                config_file=kubeconfig, context=context, client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise NoCluster(f"the kubeconfig {kubeconfig} can't be used: {error}") from error
        return configuration
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (folder / "token").is_file():
        raise NoCluster("there is no cluster to speak with: run in a pod with a service account, or set KUBECONFIG")
    configuration.host = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    configuration.ssl_ca_cert = str(folder / "ca.crt")

    def refresh(into: Configuration) -> None:
        """The kubelet renews the token's file; reading it costs less than knowing when."""
        into.api_key[_KEY] = "Bearer " + (folder / "token").read_text().strip()

    refresh(configuration)
    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]  # declared by its default, None
    return configuration


async def authorization(configuration: Configuration) -> str | None:
    """The header's value as of now. Raises OSError when the token can't be read."""
    value: str | None = await configuration.get_api_key_with_prefix(_KEY, alias="authorization")
    return value


async def connection(configuration: Configuration) -> Connection:
    header = await authorization(configuration)
    return Connection(
        server=configuration.host, ca_path=configuration.ssl_ca_cert, certificate_path=configuration.cert_file,
        key_path=configuration.key_file, insecure=not configuration.verify_ssl,
        token=header.partition(" ")[2].strip() if header else None)
