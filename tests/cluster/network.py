"""A closed network for one node: it reaches this machine and its own pods, and nothing else.

This machine's routes to the pods' and services' ranges lead into the node. Without them a packet for a pod's address
would leave by the machine's own default route.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.cluster.problems import ClusterError

NAMESPACE = "paddock"
_LINK = "paddock0"
HOST, NODE = "172.31.255.1", "172.31.255.2"
PODS = "10.244.0.0/24"


def create(*, services: str) -> None:
    """Raises ClusterError when an address range is in use."""
    for place in (HOST, PODS, services):
        if (route := _run("ip", "-o", "route", "show", "to", "match", place, "table", "main")) and any(
            not line.startswith("default") for line in route.splitlines()
        ):
            raise ClusterError(f"this machine has a route to {place} already: {route.strip()}")
    _run("ip", "netns", "add", NAMESPACE)
    _run("ip", "link", "add", _LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    _run("ip", "addr", "add", f"{HOST}/30", "dev", _LINK)
    _run("ip", "link", "set", _LINK, "up")
    _run("ip", "-n", NAMESPACE, "addr", "add", f"{NODE}/30", "dev", "eth0")
    _run("ip", "-n", NAMESPACE, "link", "set", "eth0", "up")
    _run("ip", "-n", NAMESPACE, "link", "set", "lo", "up")
    _run("ip", "-n", NAMESPACE, "route", "add", "unreachable", "default")
    for place in (PODS, services):
        _run("ip", "route", "add", place, "via", NODE)
    if modprobe := shutil.which("modprobe"):
        subprocess.run([modprobe, "-q", "br_netfilter"], check=False, capture_output=True)  # may be built in
    inside = ["nsenter", f"--net=/run/netns/{NAMESPACE}", "sysctl", "-qw"]
    _run(*inside, "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")


def remove() -> None:
    """Whatever of it there is; the routes go with the link."""
    subprocess.run(["ip", "link", "del", _LINK], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", NAMESPACE], check=False, capture_output=True)


def remove_namespace(name: str) -> None:
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def forget_namespaces() -> None:
    """The folder that the first named namespace brought (it is a mount of itself), once there are none."""
    folder = Path("/run/netns")
    if folder.is_dir() and not any(folder.iterdir()):
        subprocess.run(["umount", folder], check=False, capture_output=True)
        folder.rmdir()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
