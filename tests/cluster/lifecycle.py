"""A one-node Kubernetes made of plain processes: up, down, and what happens to its parts meanwhile. Needs root."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import binaries, cgroups, containers, network, node, packages, pause
from tests.cluster.control_plane import SERVICES, ControlPlane
from tests.cluster.daemons import Daemons
from tests.cluster.pki import Authority
from tests.cluster.problems import ClusterError

FOLDER = Path(os.environ.get("CLUSTER_STATE") or "/var/lib/paddock-cluster")
# Where this machine's users find the API server. Loopback: no request can leave the machine, not even when it is gone.
DOOR = "127.31.255.2"
KUBECONFIG = FOLDER / "admin.kubeconfig"
_CONTROL_PLANE = ("kube-controller-manager", "kube-scheduler", "kube-apiserver")

daemons = Daemons(FOLDER)


def up() -> Path:
    """The administrator's kubeconfig of a cluster that is ready. Raises ClusterError."""
    if os.geteuid():
        raise ClusterError("a cluster on this machine needs root; or set KUBECONFIG to one that is there")
    packages.ensure(packages.NODE)
    binaries.ensure()
    with _alone():
        if is_up():
            return KUBECONFIG
        _down()
        try:
            _up()
        except BaseException:
            if not os.environ.get("CLUSTER_KEEP"):
                _down()
            raise
    return KUBECONFIG


def down() -> None:
    """Stop everything and remove every trace."""
    with _alone():
        _down()


def is_up() -> bool:
    return bool(daemons.names()) and all(daemons.pid(name) for name in daemons.names()) and _answers("/readyz")


def restart(name: str) -> None:
    """A part that was stopped, or is to start anew; returns when it works again."""
    daemons.restart(name)
    if name == "kube-apiserver":
        daemons.wait(name, "the API server is ready", lambda: _answers("/readyz"))


def _up() -> None:
    FOLDER.mkdir(parents=True, mode=0o711)
    plane = ControlPlane(FOLDER, network.NODE, "127.0.0.1", Authority(FOLDER / "pki"))
    plane.admin(server=f"https://{DOOR}:{plane.port}")
    network.create(services=SERVICES)
    _start("etcd", plane.etcd())
    _start("kube-apiserver", plane.api_server(*_api_server_flags(plane), reached_as=(DOOR,)))
    door = f"TCP-LISTEN:{plane.port},bind={DOOR},fork,reuseaddr"
    daemons.start("door", ["socat", door, f"TCP:{plane.address}:{plane.port}"])
    _start_containerd()
    daemons.wait("kube-apiserver", "the API server is ready", lambda: _answers("/readyz"))
    _start("kube-controller-manager", plane.controller_manager())
    _start("kube-scheduler", plane.scheduler())
    _start_node(plane)
    _await_node()


def _api_server_flags(plane: ControlPlane) -> list[str]:
    client = plane.authority.issue("kubelet-client", common_name="apiserver", group="system:masters")
    return [
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={client.certificate}",
        f"--kubelet-client-key={client.key}",
        f"--kubelet-certificate-authority={plane.authority.pair.certificate}",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def _start_containerd() -> None:
    (FOLDER / "cni").mkdir()
    (FOLDER / "cni/10-pods.conflist").write_text(node.cni(FOLDER))
    (FOLDER / "containerd.toml").write_text(node.containerd(FOLDER))
    _start("containerd", _containerd())
    daemons.wait("containerd", "containerd answers", lambda: containers.answers(FOLDER))
    containers.load(FOLDER, pause.archive())


def _containerd() -> list[str]:
    return ["containerd", "-c", str(FOLDER / "containerd.toml")]


def _start_node(plane: ControlPlane) -> None:
    cgroups.create()
    (FOLDER / "resolv.conf").write_text(f"nameserver {network.NODE}\n")
    name = f"system:node:{node.NAME}"
    kubelet = plane.user("kubelet", common_name=name, group="system:nodes")
    proxy = plane.user("kube-proxy", common_name="system:kube-proxy")
    dns = plane.user("coredns", common_name="coredns", group="system:masters")
    serving = plane.authority.issue("node", common_name=name, serves=[f"IP:{network.NODE}", f"DNS:{node.NAME}"])
    authority = plane.authority.pair.certificate
    config = node.kubelet(FOLDER, authority=authority, certificate=serving.certificate, key=serving.key)
    (FOLDER / "kubelet.yaml").write_text(config)
    (FOLDER / "proxy.yaml").write_text(node.proxy(proxy))
    (FOLDER / "Corefile").write_text(node.coredns(dns))

    identity = [f"--hostname-override={node.NAME}", f"--node-ip={network.NODE}", f"--root-dir={FOLDER / 'kubelet'}"]
    kubeconfig, settings = f"--kubeconfig={kubelet}", f"--config={FOLDER / 'kubelet.yaml'}"
    _start("kubelet", [_program("kubelet"), kubeconfig, settings, *identity])
    _start("kube-proxy", [_program("kube-proxy"), f"--config={FOLDER / 'proxy.yaml'}"])
    _start("coredns", [_program("coredns"), "-conf", str(FOLDER / "Corefile")])


def _await_node() -> None:
    for waited in (
        ("--for=create", f"node/{node.NAME}"),
        ("--for=condition=Ready", f"node/{node.NAME}"),
        ("--for=create", "serviceaccount/default", "--namespace=default"),
    ):
        done = kubectl("wait", *waited, "--timeout=90s")
        if done.returncode:
            raise ClusterError(f"{' '.join(waited)}: {done.stderr.strip()}\n{daemons.log('kubelet')}")
    ready = ["nsenter", f"--net=/run/netns/{network.NAMESPACE}", "curl", "-fs", f"http://{node.DNS_READY}/ready"]
    daemons.wait("coredns", "CoreDNS is ready", lambda: subprocess.run(ready, capture_output=True).returncode == 0)


def kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(binaries.path("kubectl")), f"--kubeconfig={KUBECONFIG}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def _answers(path: str) -> bool:
    return KUBECONFIG.exists() and kubectl("get", f"--raw={path}", "--request-timeout=5s").returncode == 0


def _program(name: str) -> str:
    return str(binaries.path(name))


def _start(name: str, command: Sequence[str | Path]) -> None:
    daemons.start(name, command, netns=network.NAMESPACE)


def _down() -> None:
    daemons.stop("kubelet", "kube-proxy", "coredns", "door", *_CONTROL_PLANE)
    if (FOLDER / "containerd.toml").exists() and not daemons.pid("containerd"):  # killed with containers at work
        daemons.start("containerd", _containerd())
        daemons.wait("containerd", "containerd answers", lambda: containers.answers(FOLDER))
    containers.remove_all(FOLDER)
    daemons.stop("containerd", "etcd")
    daemons.forget()
    network.remove()
    cgroups.remove()
    containers.clean(FOLDER)


@contextmanager
def _alone() -> Iterator[None]:
    """One command at a time: two that start the same cluster would undo each other."""
    binaries.cache().mkdir(parents=True, exist_ok=True)
    with (binaries.cache() / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
