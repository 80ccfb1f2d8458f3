"""The command lines of a control plane, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.pki import Authority

SERVICES = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)

Arguments = list[str]


@dataclass(frozen=True)
class ControlPlane:
    """`folder` holds all state. The API server listens on `address`, what only serves its own parts on `inner`."""

    folder: Path
    address: str
    inner: str
    authority: Authority
    port: int = 6443

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    def etcd(self) -> Arguments:
        clients, peers = f"http://{self.inner}:2379", f"http://{self.inner}:2380"
        return [
            str(binaries.path("etcd")),
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",  # nothing here outlives the machine
            "--log-level=warn",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ]

    def api_server(self, *more: str, reached_as: tuple[str, ...] = ()) -> Arguments:
        """`reached_as`: further addresses that the certificate names."""
        addresses = (self.address, KUBERNETES_SERVICE, *reached_as)
        names = [*(f"IP:{address}" for address in addresses), *(f"DNS:{name}" for name in _NAMES)]
        serving = self.authority.issue("apiserver", common_name="kube-apiserver", serves=names)
        signing = self.authority.signing_key()
        return [
            str(binaries.path("kube-apiserver")),
            f"--etcd-servers=http://{self.inner}:2379",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            f"--service-cluster-ip-range={SERVICES}",
            f"--client-ca-file={self.authority.pair.certificate}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--service-account-key-file={signing}",
            f"--service-account-signing-key-file={signing}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--allow-privileged=true",
            *more,
        ]

    def controller_manager(self, *more: str) -> Arguments:
        return [
            *self._client("kube-controller-manager"),
            f"--root-ca-file={self.authority.pair.certificate}",
            f"--service-account-private-key-file={self.authority.signing_key()}",
            "--use-service-account-credentials",
            *more,
        ]

    def scheduler(self) -> Arguments:
        return self._client("kube-scheduler")

    def user(self, name: str, *, common_name: str, group: str = "", server: str = "") -> Path:
        """The kubeconfig of a user who shows a certificate. `server`: a URL, by default the API server's own."""
        pair = self.authority.issue(name, common_name=common_name, group=group)
        return self.authority.kubeconfig(self.folder / f"{name}.kubeconfig", server=server or self.url, user=pair)

    def admin(self, server: str = "") -> Path:
        return self.user("admin", common_name="admin", group="system:masters", server=server)

    def _client(self, component: str) -> Arguments:
        own = self.user(component, common_name=f"system:{component}")
        names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        listen = [f"--bind-address={self.inner}", "--leader-elect=false"]
        return [str(binaries.path(component)), *(f"--{name}={own}" for name in names), *listen]
